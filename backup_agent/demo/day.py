"""The acts of the demo, and the reports on each."""

import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from backup_agent.core.escaping import shell_word
from backup_agent.demo.errors import DemoError
from backup_agent.demo.world import World, answer_name

Report = Callable[[str, Any], None]
"""Called with a kind and its value. `note`, `progress`, `act` (a title) and `command` (a line for a shell) are text.
`output` is the output of the last command: its lines (`whole`), and the important ones (`short`). `answer` is the
answer to the last request if it is as intended, else `unexpected`. `detail` is a command and its output,
shown by --full only; `paste` is a command for the user."""

PORT, PROBES_PORT, PAGE_PORT = 8080, 8081, 8082
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SUCCEEDED, WARNED, FAILED = "succeeded", "succeeded_with_warnings", "failed"
ROOM = 60
"""Columns for a request in the line that drops it."""

SEEDS = "/<server.directories.seeds>"
"""The placeholder in a plan for a folder that only its reader knows."""


STEP = re.compile(r"^# (\d+)\. \[(.*?)\] .*\n(?:# .*\n)*((?:(?!#).+\n)+)", re.MULTILINE)
"""A step of a printed plan: its number, where it is entered, its lines."""


class _Step(NamedTuple):
    """A step of a printed plan."""

    number: str
    where: str
    lines: str


def run(folder: Path | None, report: Report, *, once: bool, keep: bool, full: bool) -> None:
    """Run the demo in an empty folder, or in a temporary one if `folder` is None.

    With `keep` only the first backup is made, with `full` every act is shown. Stay until Ctrl-C unless `once`.
    Raise DemoError if a result is not as expected, KeyboardInterrupt if a signal ends the demo. All processes that were
    started have ended on return.
    """
    _isolate_environment()
    for number in ENDINGS:
        signal.signal(number, signal.default_int_handler)
    with _folder(folder) as place, ExitStack() as held:
        world = World(place)
        try:
            _open(world, report, [_address(held.enter_context(_held(port))) for port in (PORT, PROBES_PORT, PAGE_PORT)])
            for act in (_night,) if keep else ACTS:
                if full or act not in FULL_ONLY:
                    act(world, report)
            _close(world, report, once=once, kept=folder is not None)
        finally:
            for number in ENDINGS:
                signal.signal(number, signal.SIG_IGN)
            world.close()


def _open(world: World, report: Report, addresses: Sequence[str]) -> None:
    real = "The agent and the S3 server are real." if world.s3 else "The agent is real."
    report(
        "note",
        "The Neo4j cluster is SIMULATED: its three servers and its neo4j-admin are stand-ins for Neo4j Enterprise. "
        f"{real} Each failure below is caused on purpose.",
    )
    if world.s3 is None:
        report("note", "Without the extra `demo` there is no S3 server, so nothing is copied.")
    report("progress", "Starting the simulated cluster" + (" and the S3 server (SeaweedFS)" if world.s3 else ""))
    world.start_cluster()
    world.write_settings(*addresses)
    report("detail", {"command": "cat config.yaml", "whole": world.config.read_text().splitlines()})
    report("progress", "Starting the agent")
    report("note", f"The commands after $ run in {world.folder}")
    world.pretend_it_was_down_at_night()
    world.start_agent()


def _night(world: World, report: Report) -> None:
    report("act", "The agent was down at 02:00: it makes up for the backup of that night now")
    _expect(report, world.scheduled("nightly"), SUCCEEDED, orders="FULL asked", customers="FULL asked")


def _request(world: World, report: Report) -> None:
    report("act", "A user drops a request, as for the agent's predecessor")
    answer = _ask(world, report, "backup.request", {"path": "test", "type": "FULL", "database": "orders"})
    _expect(report, answer, SUCCEEDED, orders="FULL asked")
    _show(world, report, "cat backup-requests/backup.status")


def _server_down(world: World, report: Report) -> None:
    before = world.source(world.scheduled("nightly")["databases"]["orders"]["artifact"])
    report("act", f"Orders come in, and {before} fails, from which the last backup came")
    world.change(lambda cluster: cluster.with_transactions("orders", 5).with_server_down(before))
    answer = _ask(world, report, "orders.request", {"database": "orders"})
    # It depends on the moment at which the agent notices the failure whether neo4j-admin meets it, too, and warns.
    state = WARNED if answer["state"] == WARNED else SUCCEEDED
    _expect(report, answer, state, orders="DIFF chain_continues")
    after = world.source(answer["databases"]["orders"]["artifact"])
    if after == before:
        raise DemoError(f"the backup came from {after}, which is down")
    report("note", f"The agent chose a DIFF, which continues the chain. It came from {after}.")
    world.change(lambda cluster: cluster.with_server_up(before))


def _logs_pruned(world: World, report: Report) -> None:
    report("act", "The servers have pruned their logs: instead of a DIFF, a FULL is taken")
    pruned = {"command": "backup", "database": "orders", "type": "DIFF", "times": 1, "do": "logs_pruned"}
    world.change(lambda cluster: cluster.with_transactions("orders", 2).with_faults(pruned))
    answer = _ask(world, report, "diff.request", {"database": "orders", "type": "DIFF"})
    _expect(report, answer, SUCCEEDED, orders="FULL diff_failed")


def _disk_full(world: World, report: Report) -> None:
    report("act", "The disk is full during the backup of customers; orders is backed up")
    broken = {"command": "backup", "database": "customers", "times": 1, "do": "no_space"}
    world.change(lambda cluster: cluster.with_faults(broken))
    answer = _ask(world, report, "all.request", {"databases": ["orders", "customers"], "type": "FULL"})
    _expect(report, answer, FAILED, orders="FULL asked")


def _room_again(world: World, report: Report) -> None:
    report("act", "There is room again: the next backup of customers succeeds")
    world.change(lambda cluster: cluster.with_transactions("customers", 5))
    answer = _ask(world, report, "again.request", {"database": "customers"})
    _expect(report, answer, SUCCEEDED, customers="DIFF chain_continues")


def _s3_down(world: World, report: Report) -> None:
    if world.s3 is None:
        return
    report("act", "S3 fails: the backup is safe on the volume, its copy is missing")
    world.s3.stop()
    world.change(lambda cluster: cluster.with_transactions("customers", 5))
    answer = _ask(world, report, "owed.request", {"database": "customers"})
    _expect(report, answer, WARNED, customers="DIFF chain_continues")
    world.s3.start()
    world.s3.await_ready()
    world.until(lambda: world.status()["destinations"]["offsite"]["owed"] == 0, "the missing copy is made")
    report("note", "S3 is up again, and the agent has made the copy.")


def _damage(world: World, report: Report) -> None:
    if world.s3 is None:
        return
    report("act", "A bit of an artifact flips on the disk: `verify` heals it from the copy in S3")
    key = world.answer("all.request")["databases"]["orders"]["artifact"]
    world.flip_a_bit(key)
    request = {"action": "verify", "database": "orders", "place": "local", "heal": True}
    answer = _ask(world, report, "heal.request", request)
    _expect(report, answer, SUCCEEDED)
    if answer["places"]["local"]["healed"] != [key]:
        raise DemoError(f"{key} was not healed")


def _typo(world: World, report: Report) -> None:
    report("act", "A request with a typo is rejected, and its answer says why")
    _expect(report, _ask(world, report, "typo.request", {"typ": "FULL"}), "rejected")


def _retention(world: World, report: Report) -> None:
    report("act", "Retention would delete more than 30 %: a user has to confirm its plan")
    output = _show(world, report, "backup-agent plan --force", "(plan |WARN)")
    plan = re.search(r"^plan (\w+)", output, re.MULTILINE)
    if plan is None:
        raise DemoError("the plan has no digest")
    request = {"action": "prune", "place": "local", "force": True, "plan": plan[1]}
    _expect(report, _ask(world, report, "prune.request", request), SUCCEEDED)


def _drill(world: World, report: Report) -> None:
    report("act", "A drill: an artifact is restored in a scratch folder and checked there")
    answer = _ask(world, report, "drill.request", {"action": "drill", "database": "customers", "place": "local"})
    _expect(report, answer, SUCCEEDED)
    report("note", "With Neo4j's own programs, this proves that the database comes up.")


def _restore(world: World, report: Report) -> None:
    report("act", "A restore: the agent prints each line to enter, and the demo enters them")
    plan = _show(world, report, "backup-agent restore customers", "# Restore")
    steps = [_Step(one[1], one[2], one[3]) for one in STEP.finditer(plan)]
    bring = next(step for step in steps if SEEDS in step.lines)
    report("note", f"Step {bring.number} of {len(steps)} brings the artifacts to a server:")
    _show(world, report, bring.lines.replace(SEEDS, str(world.seeds)).rstrip(), ".*: OK")
    entered = [
        step for step in steps if step.where == "cypher-shell -d 'system'" and int(step.number) > int(bring.number)
    ]
    report("note", f"Steps {', '.join(step.number for step in entered)} create the database and look at it:")
    statements = "".join(step.lines for step in entered)
    output = _show(world, report, f"cypher-shell -d system <<'END'\n{statements}END", '.*"online"')
    if output.count('"online", "online"') != len(world.servers):
        raise DemoError(f"customers-restored is not online on each server: {output}")
    clean = steps[-1]
    report("note", f"Step {clean.number} removes the artifacts from the server:")
    _show(world, report, clean.lines.replace(SEEDS, str(world.seeds)).rstrip())
    report("note", "The other steps look into the data and restore users: the stand-ins have neither.")


def _final_state(world: World, report: Report) -> None:
    report("act", "Is all well? The health is the first line of the status")
    _show(world, report, "backup-agent status", "(OK|DEGRADED|FAILING|- |SET/|default/|test/)")


ACTS = (
    _night,
    _request,
    _server_down,
    _logs_pruned,
    _disk_full,
    _room_again,
    _s3_down,
    _damage,
    _typo,
    _retention,
    _final_state,
    _drill,
    _restore,
)
FULL_ONLY = (_logs_pruned, _s3_down, _damage)
"""The acts that only --full shows."""


def _ask(world: World, report: Report, name: str, request: dict[str, Any]) -> dict[str, Any]:
    """Drop a request as a user does, show that, and return the answer to it."""
    (world.requests / answer_name(name)).unlink(missing_ok=True)
    line = f"echo {shell_word(_wrapped(json.dumps(request, separators=(',', ':'))))} > backup-requests/{name}"
    report("command", line)
    world.shell(line)
    return world.answer(name)


def _wrapped(document: str) -> str:
    """Return a JSON document of several lines if it is too long for one line of a terminal."""
    if len(document) <= ROOM:
        return document
    head, comma, tail = document[:ROOM].rpartition(",")
    return f"{head}{comma}\n {tail}{document[ROOM:]}"


def _show(world: World, report: Report, line: str, important: str = ".*") -> str:
    """Run a line, show it with its output, and return the output. `important` matches the beginning of short output."""
    report("command", line)
    output = world.shell(line)
    whole = output.splitlines()
    report("output", {"whole": whole, "short": [text for text in whole if re.match(important, text)]})
    return output


def _close(world: World, report: Report, *, once: bool, kept: bool) -> None:
    """Show what to do next. Unless `once`, stay until Ctrl-C."""
    report("act", "How to go on")
    if once:
        report("note", "Add --full to see more. To keep all this up, and work with it by hand:")
        report("paste", f"{_program()} demo --keep")
        return
    report("note", f"The page of the agent: http://{world.page}/ (as JSON: http://{world.page}/status.json)")
    report("note", f"Metrics: http://{world.listen}/metrics. Log: {world.log}")
    left = "" if kept else ", and removes the folder (--dir keeps it)"
    report("note", f"Ctrl-C ends everything{left}. In another terminal, docs/playground.md has more:")
    report("paste", f". {shell_word(str(world.environment_file))} && backup-agent status")
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
    report("note", "Ending.")


def _program() -> str:
    """Return how this program was called."""
    called = Path(sys.argv[0])
    return sys.argv[0] if called.name == "backup-agent" else f"{sys.executable} -m backup_agent"


def _expect(report: Report, answer: dict[str, Any], state: str, **databases: str) -> None:
    """Report an answer. Raise DemoError if it is not the expected one."""
    different = [f"the answer is {answer['state']}; expected {state}"] if answer["state"] != state else []
    for name, expected in databases.items():
        result = answer["databases"][name]
        if result["outcome"] in ("failed", "cancelled") or f"{result['type']} {result['type_reason']}" != expected:
            different.append(f"{name}: expected {expected}")
    report("unexpected" if different else "answer", answer)
    if different:
        raise DemoError("; ".join(different))


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


def _address(bound: socket.socket) -> str:
    return f"127.0.0.1:{bound.getsockname()[1]}"


def _held(usual: int) -> socket.socket:
    """Bind a port, or a free one if that port is in use, so that no other program gets it before the agent listens.

    The socket never listens, and lets the agent, which sets SO_REUSEADDR as it does, bind the same port.
    """
    for port in (usual, 0):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            found = probe.getsockname()[1]
            probe.close()
            held = socket.socket()
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", found))
            return held
    raise DemoError("no port is free on 127.0.0.1")
