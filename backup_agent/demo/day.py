"""The day: what happens, and what is said of it."""

import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backup_agent.cli import printing
from backup_agent.demo.world import DemoError, World

Say = Callable[[str], None]
LISTEN = "127.0.0.1:8080"


def run(folder: Path | None, say: Say, *, once: bool) -> None:
    """Run the day in a folder, a new one where none is given; stay until Ctrl-C unless `once`."""
    with _folder(folder) as place:
        world = World(place, _listen())
        try:
            _open(world, say)
            for part in (_night, _request, _writes, _server_down, _logs_pruned, _one_fails, _nonsense, _offsite, _look):
                part(world, say)
            if not once:
                _stay(world, say)
        finally:
            world.close()


def _open(world: World, say: Say) -> None:
    say("The Neo4j cluster in this demo is SIMULATED: neo4j-admin and the servers are stand-ins (no Enterprise here).")
    say("The agent is the real one" + (", and so is the S3 server (SeaweedFS)." if world.s3 else "."))
    if world.s3 is None:
        say("Without the extra `demo` there is no S3 server: copies are left out, the volume is all there is.")
    say(f"\nEverything is below {world.folder}\n")
    world.start_cluster()
    config = world.write_settings()
    say(_titled("The settings", config.read_text()))


def _night(world: World, say: Say) -> None:
    say("## 02:00 has passed while the agent was down. `misfire: run_once`: it makes up for it as it starts.\n")
    world.pretend_it_was_down_at_night()
    world.start_agent()
    say(_told(world.scheduled("nightly"), "succeeded"))


def _request(world: World, say: Say) -> None:
    command = f'{{"path":"{world.root}/test","type":"FULL"}}'
    say("## Somebody drops a request, by the predecessor's own command\n")
    say(f"$ sh -c 'echo \"{command}\" > {world.requests}/backup.request'")
    world.echo("backup.request", command)
    say(_told(world.answer("backup.request"), "succeeded"))
    say(f"$ cat {world.requests}/backup.status\n{(world.requests / 'backup.status').read_text()}")


def _writes(world: World, say: Say) -> None:
    say("## Orders come in; `type: AUTO` continues the chain with a differential\n")
    world.change(lambda cluster: cluster.with_transactions("orders", 8))
    world.echo("auto.request", '{"database":"orders"}')
    say(_told(world.answer("auto.request"), "succeeded"))


def _server_down(world: World, say: Say) -> None:
    say("## server-1 fails; the next backup comes from another server\n")
    world.change(lambda cluster: cluster.with_transactions("orders", 5).with_server_down("server-1"))
    world.echo("fallback.request", '{"database":"orders","type":"DIFF"}')
    say(_told(world.answer("fallback.request"), "succeeded"))
    world.change(lambda cluster: cluster.with_server_up("server-1").with_leaders_elected())


def _logs_pruned(world: World, say: Say) -> None:
    say("## The servers have pruned their logs: the differential cannot be had, and a FULL follows in the same run\n")
    pruned = {"command": "backup", "database": "orders", "type": "DIFF", "times": 1, "do": "logs_pruned"}
    world.change(lambda cluster: cluster.with_transactions("orders", 9).with_faults(pruned))
    world.echo("pruned.request", '{"database":"orders","type":"DIFF"}')
    say(_told(world.answer("pruned.request"), "succeeded"))


def _one_fails(world: World, say: Say) -> None:
    say("## neo4j-admin breaks on one database: the others get their backup, and the answer says what to do\n")
    broken = {"command": "backup", "database": "customers", "times": 1, "do": "no_space"}
    world.change(lambda cluster: cluster.with_faults(broken))
    world.echo("all.request", '{"type":"FULL","reason":"before the upgrade"}')
    say(_told(world.answer("all.request"), "failed"))


def _nonsense(world: World, say: Say) -> None:
    say("## A request with a typo is refused, kept, and told why\n")
    world.echo("typo.request", '{"typ":"FULL"}')
    say(_told(world.answer("typo.request"), "rejected"))


def _offsite(world: World, say: Say) -> None:
    if world.s3 is None:
        return
    say("## S3 goes away: the backup is safe on the volume, its copy is owed, and made when S3 is back\n")
    world.s3.stop()
    world.change(lambda cluster: cluster.with_transactions("customers", 5))
    world.echo("owed.request", '{"database":"customers"}')
    say(_told(world.answer("owed.request"), "succeeded_with_warnings"))
    world.s3.start()
    world.until(lambda: world.status()["destinations"]["offsite"]["owed"] == 0, "the copy is made")
    say("S3 is back: nothing is owed any more.\n")


def _look(world: World, say: Say) -> None:
    for command in ("list", "schedules", "status"):
        say(_titled(f"$ backup-agent {command}", world.command(command)))


def _stay(world: World, say: Say) -> None:
    say(f"The agent is still there: http://{world.listen}/metrics and http://{world.listen}/status.json")
    say(f"Its log is {world.log}; drop requests into {world.requests}. Ctrl-C ends it.")
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()


def _told(answer: dict[str, Any], expected: str) -> str:
    """Say an answer as a person would want it; raise DemoError for one that was not to come."""
    if answer["state"] != expected:
        raise DemoError(f"{expected} was to be answered, and not {answer['state']}: {answer.get('error')}")
    reason = f" ({answer['reason']})" if "reason" in answer else ""
    lines = [f"   {answer['id']}: {answer['state']}{reason}"]
    for name, result in answer.get("databases", {}).items():
        if "artifact" in result:
            copies = "".join(f", {place}: {state}" for place, state in result["copies"].items())
            lines.append(
                f"     {name}: {result['type']} because {result['type_reason']}, "
                f"{printing.size(result['size'])}, {result['artifact']}{copies}"
            )
        else:
            lines.append(f"     {name}: {result['outcome']} ({result.get('reason', '')})")
    if "error" in answer:
        lines.append("     " + answer["error"].splitlines()[0])
    if "hint" in answer:
        lines.append(f"     HINT: {answer['hint']}")
    return "\n".join(lines) + "\n"


def _titled(title: str, text: str) -> str:
    return f"{title}\n\n" + "".join(f"    {line}\n" for line in text.splitlines())


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="backup-agent-demo-") as made:
        yield Path(made)


def _listen() -> str:
    """Return the usual address, or a free one where something listens there already."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 8080))
        except OSError:
            probe.bind(("127.0.0.1", 0))
            return f"127.0.0.1:{probe.getsockname()[1]}"
    return LISTEN
