"""The parts of the demo and the text printed for each."""

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

Report = Callable[[str, Any], None]
"""Called with a kind and its value: `note` and `part` (a title) are text, `shown` is a command and its output, `answer`
is the answer to a request."""

PORT, PROBES_PORT, PAGE_PORT = 8080, 8081, 8082
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIMULATED = "The Neo4j cluster of this demo is SIMULATED: its servers and neo4j-admin are stand-ins for Enterprise."


def run(folder: Path | None, report: Report, *, once: bool) -> None:
    """Run the demo in an empty folder, or in a temporary one if `folder` is None. Stay until Ctrl-C unless `once`.

    Raise DemoError if a result is not as expected, KeyboardInterrupt if a signal ends the demo. All processes that were
    started have ended on return.
    """
    _isolate_environment()
    for number in ENDINGS:
        signal.signal(number, signal.default_int_handler)
    with _folder(folder) as place:
        world = World(place)
        try:
            _open(world, report, kept=folder is not None)
            for part in PARTS:
                part(world, report)
            if not once:
                _stay(world, report)
        finally:
            for number in ENDINGS:
                signal.signal(number, signal.SIG_IGN)
            world.close()


def _open(world: World, report: Report, *, kept: bool) -> None:
    report("note", SIMULATED)
    if world.s3:
        report("note", "The agent is the real one. So is the S3 server (SeaweedFS) to which artifacts are copied.")
    else:
        report(
            "note",
            "The agent is the real one. Without the extra `demo` there is no S3 server, so nothing is copied.",
        )
    report(
        "note",
        f"All files are below {world.folder}" + ("." if kept else " and are removed at the end (--dir keeps them)."),
    )
    world.start_cluster()
    report(
        "shown",
        {
            "command": f"cat {shell_word(str(world.config))}",
            "output": world.write_settings(_listen(PORT), _listen(PROBES_PORT), _listen(PAGE_PORT)),
        },
    )


def _night(world: World, report: Report) -> None:
    report(
        "part", "02:00 has passed while the agent was down: it runs the missed backup at its start (misfire: run_once)"
    )
    world.pretend_it_was_down_at_night()
    world.start_agent()
    _expect(report, world.scheduled("nightly"), "succeeded", orders="FULL asked", customers="FULL asked")


def _request(world: World, report: Report) -> None:
    content = f'{{"path":"{world.root}/test","type":"FULL"}}'
    quoted = content.replace('"', '\\"')
    line = f'echo "{quoted}" > {shell_word(str(world.requests / "backup.request"))}'
    report("part", "A user drops a request with the command of the agent's predecessor")
    report("shown", {"command": f"sh -c {shell_word(line)}", "output": ""})
    world.echo("backup.request", content)
    _expect(report, world.answer("backup.request"), "succeeded", orders="FULL asked")
    status = world.requests / "backup.status"
    report("shown", {"command": f"cat {shell_word(str(status))}", "output": status.read_text()})


def _writes(world: World, report: Report) -> None:
    report("part", 'Orders come in; {"database":"orders"} continues the chain with a differential')
    world.change(lambda cluster: cluster.with_transactions("orders", 3))
    world.echo("auto.request", '{"database":"orders"}')
    _expect(report, world.answer("auto.request"), "succeeded", orders="DIFF chain_continues")


def _server_down(world: World, report: Report) -> None:
    before = world.source(world.answer("auto.request")["databases"]["orders"]["artifact"])
    report("part", f"{before}, the source of that backup, fails: the next backup comes from another server")
    world.change(lambda cluster: cluster.with_transactions("orders", 2).with_server_down(before))
    world.echo("fallback.request", '{"database":"orders","type":"DIFF"}')
    answer = world.answer("fallback.request")
    # neo4j-admin itself tries the next server, and then reports a problem by its exit code.
    _expect(report, answer, "succeeded_with_warnings", orders="DIFF asked")
    after = world.source(answer["databases"]["orders"]["artifact"])
    if after == before:
        raise DemoError(f"the backup came from {after}, which is down")
    report("note", f"The backup came from {after}.")
    world.change(lambda cluster: cluster.with_server_up(before))


def _logs_pruned(world: World, report: Report) -> None:
    report("part", "The servers have pruned their logs: no differential is possible, so the same run takes a FULL")
    pruned = {"command": "backup", "database": "orders", "type": "DIFF", "times": 1, "do": "logs_pruned"}
    world.change(lambda cluster: cluster.with_transactions("orders", 2).with_faults(pruned))
    world.echo("pruned.request", '{"database":"orders","type":"DIFF"}')
    _expect(report, world.answer("pruned.request"), "succeeded", orders="FULL diff_failed")


def _offsite(world: World, report: Report) -> None:
    if world.s3 is None:
        return
    report("part", "S3 fails: the backup is stored on the volume, and its copy is missing")
    world.s3.stop()
    world.change(lambda cluster: cluster.with_transactions("customers", 5))
    world.echo("owed.request", '{"database":"customers"}')
    _expect(report, world.answer("owed.request"), "succeeded_with_warnings", customers="DIFF chain_continues")
    world.s3.start()
    report("note", "S3 is available again.")


def _one_fails(world: World, report: Report) -> None:
    report("part", "neo4j-admin fails for one database: the others are backed up, and the answer says what to do")
    broken = {"command": "backup", "database": "customers", "times": 1, "do": "no_space"}
    world.change(lambda cluster: cluster.with_faults(broken))
    world.echo("all.request", '{"type":"FULL","reason":"before the upgrade"}')
    _expect(report, world.answer("all.request"), "failed", orders="FULL asked")
    if world.s3 is not None:
        world.until(lambda: world.status()["destinations"]["offsite"]["owed"] == 0, "the missing copy is made")
        report("note", "S3 now has the copy that was missing.")


def _damage(world: World, report: Report) -> None:
    if world.s3 is None:
        return
    report("part", "A bit flips on the disk: verify finds the damage and heals it from the copy in S3")
    key = world.answer("all.request")["databases"]["orders"]["artifact"]
    world.flip_a_bit(key)
    report("note", f"One bit of {world.root / key} was flipped.")
    world.echo("verify.request", json.dumps({"action": "verify", "artifact": key}))
    _expect(report, world.answer("verify.request"), "failed")
    world.echo("heal.request", json.dumps({"action": "verify", "artifact": key, "place": "local", "heal": True}))
    _expect(report, world.answer("heal.request"), "succeeded")


def _retention(world: World, report: Report) -> None:
    report("part", "Retention would delete more than half at once: nothing is deleted until a user confirms the plan")
    world.write_settings(world.listen, world.probes, world.page, retention={"last": 1})
    world.until(lambda: "last" in world.status()["retention"]["local"], "the policy is in force")
    _show(world, report, "plan")
    plan = json.loads(world.command("plan", "--force", "--json"))["plan"]
    _show(world, report, "prune", "--place", "local", "--force", "--plan", plan, "--yes")


def _restore(world: World, report: Report) -> None:
    report("part", "Restore: the plan that brings a database back, made only from its records")
    _show(world, report, "restore", "customers")


def _typo(world: World, report: Report) -> None:
    report("part", "A request with a typo is rejected and kept, and its answer says why")
    world.echo("typo.request", '{"typ":"FULL"}')
    _expect(report, world.answer("typo.request"), "rejected")


def _final_state(world: World, report: Report) -> None:
    report("part", "The state of the agent at the end")
    for command in ("list", "schedules", "status"):
        _show(world, report, command)


PARTS = (
    _night,
    _request,
    _writes,
    _server_down,
    _logs_pruned,
    _offsite,
    _one_fails,
    _damage,
    _retention,
    _restore,
    _typo,
    _final_state,
)


def _show(world: World, report: Report, *words: str) -> None:
    command = "backup-agent " + " ".join(word if word.strip("-").isalpha() else shell_word(word) for word in words)
    report("shown", {"command": command, "output": world.command(*words)})


def _stay(world: World, report: Report) -> None:
    report("part", "The agent stays up until Ctrl-C")
    report(
        "note",
        f"See the page http://{world.page}/ and http://{world.listen}/metrics; the agent's log is {world.log}.",
    )
    exports = f"BACKUP_AGENT_CONFIG={shell_word(str(world.config))}"
    if world.s3 is not None:
        credentials = world.folder / "credentials"
        world.s3.write_credentials(credentials)
        exports += f" AWS_SHARED_CREDENTIALS_FILE={shell_word(str(credentials))}"
    report("note", f"To send a request: export {exports}, then backup-agent request --wait")
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
    report("note", "Ending.")


def _expect(report: Report, answer: dict[str, Any], state: str, **databases: str) -> None:
    """Report an answer. Raise DemoError if it is not the expected one."""
    report("answer", answer)
    if answer["state"] != state:
        raise DemoError(f"the answer is {answer['state']}; expected {state}")
    for name, expected in databases.items():
        result = answer["databases"][name]
        if result["outcome"] in ("failed", "cancelled") or f"{result['type']} {result['type_reason']}" != expected:
            raise DemoError(f"{name}: expected {expected}")


def _isolate_environment() -> None:
    """Remove the user's settings and S3 credentials from the environment, and turn proxies off."""
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
        if not failed:  # a failed demo is kept for inspection
            shutil.rmtree(made, ignore_errors=True)


def _listen(usual: int) -> str:
    """Return the address of a port, or of a free one if that port is in use."""
    for port in (usual, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return f"127.0.0.1:{probe.getsockname()[1]}"
    raise DemoError("no port is free on 127.0.0.1")
