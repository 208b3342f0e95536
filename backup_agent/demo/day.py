"""The day: what happens, and what is told of it."""

import json
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from backup_agent.core.escaping import shell_word
from backup_agent.demo.world import DemoError, World

Tell = Callable[[str, Any], None]
"""Takes a `note`, the title of a `part`, something that was `shown` (a command and what it printed), an `answer`."""

PORT, PROBES_PORT = 8080, 8081
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIMULATED = "The Neo4j cluster here is SIMULATED: its servers and neo4j-admin are stand-ins (no Enterprise on board)."


def run(folder: Path | None, tell: Tell, *, once: bool) -> None:
    """Run the day in an empty folder, one of its own where none is given; stay until Ctrl-C unless `once`.

    Raise DemoError where something comes otherwise than it should, KeyboardInterrupt where the day is ended by a
    signal. Nothing that was started is left running.
    """
    _leave_out_the_callers_environment()
    for number in ENDINGS:
        signal.signal(number, signal.default_int_handler)
    with _folder(folder) as place:
        world = World(place)
        try:
            _open(world, tell, kept=folder is not None)
            for part in PARTS:
                part(world, tell)
            if not once:
                _stay(world, tell)
        finally:
            for number in ENDINGS:
                signal.signal(number, signal.SIG_IGN)
            world.close()


def _open(world: World, tell: Tell, *, kept: bool) -> None:
    tell("note", SIMULATED)
    if world.s3:
        tell("note", "The agent is the real one, and so is the S3 server (SeaweedFS) that copies go to.")
    else:
        tell(
            "note",
            "The agent is the real one. Without the extra `demo` there is no S3 server: no copies, just the volume.",
        )
    tell("note", f"Everything is below {world.folder}" + ("." if kept else ", and gone at the end (--dir keeps it)."))
    world.start_cluster()
    tell(
        "shown",
        {
            "command": f"cat {shell_word(str(world.config))}",
            "output": world.write_settings(_listen(PORT), _listen(PROBES_PORT)),
        },
    )


def _night(world: World, tell: Tell) -> None:
    tell("part", "02:00 has passed while the agent was down: as it starts, it makes up for it (misfire: run_once)")
    world.pretend_it_was_down_at_night()
    world.start_agent()
    _expect(tell, world.scheduled("nightly"), "succeeded", orders="FULL asked", customers="FULL asked")


def _request(world: World, tell: Tell) -> None:
    content = f'{{"path":"{world.root}/test","type":"FULL"}}'
    quoted = content.replace('"', '\\"')
    line = f'echo "{quoted}" > {shell_word(str(world.requests / "backup.request"))}'
    tell("part", "Somebody drops a request, by the predecessor's own command")
    tell("shown", {"command": f"sh -c {shell_word(line)}", "output": ""})
    world.echo("backup.request", content)
    _expect(tell, world.answer("backup.request"), "succeeded", orders="FULL asked")
    word = world.requests / "backup.status"
    tell("shown", {"command": f"cat {shell_word(str(word))}", "output": word.read_text()})


def _writes(world: World, tell: Tell) -> None:
    tell("part", 'Orders come in; {"database":"orders"} continues the chain with a differential')
    world.change(lambda cluster: cluster.with_transactions("orders", 3))
    world.echo("auto.request", '{"database":"orders"}')
    _expect(tell, world.answer("auto.request"), "succeeded", orders="DIFF chain_continues")


def _server_down(world: World, tell: Tell) -> None:
    before = world.source(world.answer("auto.request")["databases"]["orders"]["artifact"])
    tell("part", f"{before}, which served that backup, fails: the next comes from another server")
    world.change(lambda cluster: cluster.with_transactions("orders", 2).with_server_down(before))
    world.echo("fallback.request", '{"database":"orders","type":"DIFF"}')
    answer = world.answer("fallback.request")
    # neo4j-admin itself goes on to the next server, and its exit code then says that there was a problem.
    _expect(tell, answer, "succeeded_with_warnings", orders="DIFF asked")
    after = world.source(answer["databases"]["orders"]["artifact"])
    if after == before:
        raise DemoError(f"the backup came from {after}, which is down")
    tell("note", f"It came from {after}.")
    world.change(lambda cluster: cluster.with_server_up(before))


def _logs_pruned(world: World, tell: Tell) -> None:
    tell("part", "The servers have pruned their logs: no differential can be had, and a FULL follows in the same run")
    pruned = {"command": "backup", "database": "orders", "type": "DIFF", "times": 1, "do": "logs_pruned"}
    world.change(lambda cluster: cluster.with_transactions("orders", 2).with_faults(pruned))
    world.echo("pruned.request", '{"database":"orders","type":"DIFF"}')
    _expect(tell, world.answer("pruned.request"), "succeeded", orders="FULL diff_failed")


def _offsite(world: World, tell: Tell) -> None:
    if world.s3 is None:
        return
    tell("part", "S3 goes away: the backup is safe on the volume, and its copy is owed")
    world.s3.stop()
    world.change(lambda cluster: cluster.with_transactions("customers", 5))
    world.echo("owed.request", '{"database":"customers"}')
    _expect(tell, world.answer("owed.request"), "succeeded_with_warnings", customers="DIFF chain_continues")
    world.s3.start()
    tell("note", "S3 is back.")


def _one_fails(world: World, tell: Tell) -> None:
    tell("part", "neo4j-admin breaks on one database: the others get their backup, and the answer says what to do")
    broken = {"command": "backup", "database": "customers", "times": 1, "do": "no_space"}
    world.change(lambda cluster: cluster.with_faults(broken))
    world.echo("all.request", '{"type":"FULL","reason":"before the upgrade"}')
    _expect(tell, world.answer("all.request"), "failed", orders="FULL asked")
    if world.s3 is not None:
        world.until(lambda: world.status()["destinations"]["offsite"]["owed"] == 0, "the owed copy is made")
        tell("note", "And S3 has the copy that was owed.")


def _rot(world: World, tell: Tell) -> None:
    if world.s3 is None:
        return
    tell("part", "A disk turns a bit over: reading again finds it, and the copy in S3 heals it")
    key = world.answer("all.request")["databases"]["orders"]["artifact"]
    world.turn_a_bit(key)
    tell("note", f"One bit of {world.root / key} is another now.")
    world.echo("verify.request", json.dumps({"action": "verify", "artifact": key}))
    _expect(tell, world.answer("verify.request"), "failed")
    world.echo("heal.request", json.dumps({"action": "verify", "artifact": key, "place": "local", "heal": True}))
    _expect(tell, world.answer("heal.request"), "succeeded")


def _retention(world: World, tell: Tell) -> None:
    tell("part", "Retention would delete more than half at once: nothing goes before somebody has looked and said yes")
    world.write_settings(world.listen, world.probes, retention={"last": 1})
    world.until(lambda: "last" in str(world.status()["retention"]), "the policy is in force")
    _show(world, tell, "plan")
    plan = json.loads(world.command("plan", "--force", "--json"))["plan"]
    _show(world, tell, "prune", "--place", "local", "--force", "--plan", plan, "--yes")


def _restore(world: World, tell: Tell) -> None:
    tell("part", "At three in the morning: the lines that restore a point, from its records alone")
    records = sorted((world.root / "default" / "customers").glob("*.backup"))
    _show(world, tell, "show", f"default/customers/{records[-1].name}", "--restore")


def _nonsense(world: World, tell: Tell) -> None:
    tell("part", "A request with a typo is rejected, kept, and told why")
    world.echo("typo.request", '{"typ":"FULL"}')
    _expect(tell, world.answer("typo.request"), "rejected")


def _look(world: World, tell: Tell) -> None:
    tell("part", "What the agent has now")
    for command in ("list", "schedules", "status"):
        _show(world, tell, command)


PARTS = (
    _night,
    _request,
    _writes,
    _server_down,
    _logs_pruned,
    _offsite,
    _one_fails,
    _rot,
    _retention,
    _restore,
    _nonsense,
    _look,
)


def _show(world: World, tell: Tell, *words: str) -> None:
    command = "backup-agent " + " ".join(word if word.strip("-").isalpha() else shell_word(word) for word in words)
    tell("shown", {"command": command, "output": world.command(*words)})


def _stay(world: World, tell: Tell) -> None:
    tell("part", "The agent stays up until Ctrl-C")
    tell(
        "note", f"Look at http://{world.listen}/metrics and http://{world.listen}/status.json; its log is {world.log}."
    )
    exports = f"BACKUP_AGENT_CONFIG={shell_word(str(world.config))}"
    if world.s3 is not None:
        credentials = world.folder / "credentials"
        world.s3.write_credentials(credentials)
        exports += f" AWS_SHARED_CREDENTIALS_FILE={shell_word(str(credentials))}"
    tell("note", f"Ask it: export {exports}, then backup-agent request --wait")
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
    tell("note", "Ending.")


def _expect(tell: Tell, answer: dict[str, Any], state: str, **databases: str) -> None:
    """Tell an answer; raise DemoError where it is not the one that this part of the day is about."""
    tell("answer", answer)
    if answer["state"] != state:
        raise DemoError(f"{state} was to be answered, not {answer['state']}")
    for name, expected in databases.items():
        result = answer["databases"][name]
        if result["outcome"] in ("failed", "cancelled") or f"{result['type']} {result['type_reason']}" != expected:
            raise DemoError(f"{name} was to be {expected}")


def _leave_out_the_callers_environment() -> None:
    """Keep settings and S3 credentials of the one who looks out of the demo, and everything in it off proxies."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "BACKUP_AGENT_"))]:
        del os.environ[name]
    os.environ.update(AWS_EC2_METADATA_DISABLED="true", NO_PROXY="*", no_proxy="*")


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        if any(given.iterdir()):
            raise DemoError(f"{given} is not empty: name a new folder")
        yield given.resolve()
        return
    made = Path(tempfile.mkdtemp(prefix="backup-agent-demo-"))
    failed = True
    try:
        yield made
        failed = False
    except KeyboardInterrupt:
        failed = False
        raise
    finally:
        if not failed:  # what failed is worth a look
            shutil.rmtree(made, ignore_errors=True)


def _listen(usual: int) -> str:
    """Return the address of a port, or a free one if something listens there already."""
    for port in (usual, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return f"127.0.0.1:{probe.getsockname()[1]}"
    raise DemoError("no port is free on 127.0.0.1")
