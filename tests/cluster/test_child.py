"""The child process that reads the topology, as the supervisor uses it: through two pipes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from backup_agent.cluster.rows import Rows
from backup_agent.cluster.saved_topology import FILE, LARGEST, load_topology, save_topology
from backup_agent.core.neo4j.topology import Copy, Topology
from backup_agent.core.reasons import Failure
from backup_agent.core.requests.events import DiscoveryFailed, TopologyRows, TopologyTold, parse
from backup_agent.standins.bolt import BoltServer
from backup_agent.standins.cluster import BoltFault, User, three_servers
from backup_agent.supervisor.children.process import LONGEST_LINE, Ended, Told
from backup_agent.supervisor.children.process import Child as Started
from backup_agent.supervisor.work.discovery import Discovery
from tests.builders import ORDERS, settings_with
from tests.polling import until

Start = Callable[..., BoltServer]
Child = Callable[[dict[str, Any]], subprocess.Popen[str]]

PASSWORD = "sesame-open-42"


@pytest.fixture
def child() -> Iterator[Child]:
    """Return a function that starts the child with a task. The child's stdin stays open until the test ends."""
    with ExitStack() as running:

        def start(asked: dict[str, Any]) -> subprocess.Popen[str]:
            process = running.enter_context(
                subprocess.Popen(
                    (sys.executable, "-m", "backup_agent.cluster"),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "NEO4J_PASSWORD": PASSWORD},
                )
            )
            running.callback(process.kill)
            assert process.stdin is not None
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            return process

        yield start


def discover_task(uri: str, **neo4j: Any) -> dict[str, Any]:
    settings = settings_with(neo4j={"uri": uri, "username": "agent", **neo4j})
    return {"settings": json.loads(settings.model_dump_json()), "root": None}


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Read all events of the child. Return the last one, and the rows by kind."""
    assert process.stdout is not None
    rows = Rows()
    for line in process.stdout:
        assert len(line) < LONGEST_LINE / 4
        event = parse(line.encode())
        if isinstance(event, TopologyTold | DiscoveryFailed):
            return {**event.model_dump(), **rows.complete(event.counts)}
        assert isinstance(event, TopologyRows)
        rows.take(event)
    raise AssertionError("the child ended without a last word")


def test_the_child_reports_the_topology_and_the_reachable_addresses(bolt_server: Start, child: Child) -> None:
    server = bolt_server(three_servers().with_users(User("agent", PASSWORD)))
    bolt_port = int(server.addresses["server-0"].rpartition(":")[2])

    process = child(discover_task(server.uri(scheme="neo4j"), backup_addresses={"127.0.0.1": f"127.0.0.1:{bolt_port}"}))
    found = answer(process)

    assert process.wait(10) == 0
    assert found["event"] == "topology"
    assert {copy.database for copy in found["copies"]} == {"neo4j", "orders", "system"}
    assert found["versions"] == ("2026.09.0",)
    assert found["reachable"] == [(f"127.0.0.1:{bolt_port}", None)]
    assert abs(found["clock_offset_seconds"]) < 2
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_a_failure_has_a_reason_and_a_hint_and_not_the_password(bolt_server: Start, child: Child) -> None:
    server = bolt_server(three_servers().with_users(User("agent", "another one")))

    process = child(discover_task(server.uri(scheme="neo4j")))
    found = answer(process)

    assert process.wait(10) == 1
    failure = Failure(**found["failure"])
    assert (found["event"], failure.reason, found["permanent"]) == ("not_discovered", "source_unreachable", True)
    assert "wrong user name or password" in failure.error
    assert "neo4j.password_file" in failure.advice
    assert PASSWORD not in repr(found)
    assert len(server.logins) == 1


def test_without_bolt_the_known_addresses_are_probed(bolt_server: Start, child: Child, tmp_path: Path) -> None:
    server = bolt_server(three_servers().with_bolt_faults(BoltFault("refuse")))
    last = Topology(seen="2026-11-23T02:00:00Z", copies=(Copy(database=ORDERS, address="127.0.0.1:7687"),))
    save_topology(tmp_path, last)

    process = child({**discover_task(server.uri(), servers=["127.0.0.1:1"], backup_port=2), "root": str(tmp_path)})
    found = answer(process)

    assert found["event"] == "not_discovered"
    assert [address for address, _ in found["reachable"]] == ["127.0.0.1:2", "127.0.0.1:1"]
    assert "refused" in found["reachable"][1][1]


def test_a_missing_password_file_is_an_error(bolt_server: Start, child: Child, tmp_path: Path) -> None:
    server = bolt_server(three_servers())

    process = child(discover_task(server.uri(), password_file=str(tmp_path / "absent"), username="agent"))
    found = answer(process)

    assert (found["event"], found["failure"]["reason"]) == ("not_discovered", "source_unreachable")
    assert str(tmp_path / "absent") in found["failure"]["error"]
    assert server.logins == ()


def test_a_server_that_hangs_does_not_keep_the_child_beyond_its_deadline(bolt_server: Start, child: Child) -> None:
    server = bolt_server(three_servers().with_bolt_faults(BoltFault("hang")))

    process = child({**discover_task(server.uri()), "timeout": 0.5})

    assert "gave no answer" in answer(process)["failure"]["error"]
    assert process.wait(5) == 1


def test_the_child_ends_when_its_stdin_is_closed(bolt_server: Start, child: Child) -> None:
    server = bolt_server(three_servers().with_bolt_faults(BoltFault("hang")))
    process = child(discover_task(server.uri()))
    until(lambda: server.statements, "statement of the child")

    assert process.stdin is not None
    process.stdin.close()

    assert process.wait(5) == 1
    assert process.stdout is not None
    assert process.stdout.read() == ""


MANY = 1500
"""Number of databases with three copies each."""


def test_1500_databases_of_three_copies_reach_the_supervisor_and_its_volume(bolt_server: Start, tmp_path: Path) -> None:
    names = [f"tenant-{number:04d}" for number in range(MANY)]
    server = bolt_server(three_servers(databases=names).with_users(User("agent", PASSWORD)))
    settings = discover_task(server.uri(scheme="neo4j"), password_file=str(tmp_path / "password"))
    (tmp_path / "password").write_text(PASSWORD)
    known, events = Discovery(tmp_path), SimpleQueue[Told | Ended]()
    known.begin()
    with Path(os.devnull).open() as lock:
        Started("d-1", "backup_agent.cluster", json.dumps(settings).encode(), events.put, root="r", keep=lock.fileno())
        while isinstance(message := events.get(timeout=60), Told):
            if isinstance(message.event, TopologyRows):
                known.add_rows(message.event)
            elif isinstance(message.event, TopologyTold):
                known.take(message.event, 1.0)

    assert message.code == 0
    assert known.failure is None
    assert known.current is not None
    assert len(known.current.copies) == 3 * (MANY + 1)
    assert set(known.current.databases()) == {*names, "system"}
    assert load_topology(tmp_path) == known.current
    assert (tmp_path / FILE).stat().st_size < LARGEST


def test_an_answer_without_end_takes_little_memory(bolt_server: Start, child: Child) -> None:
    users = three_servers().with_users(User("agent", PASSWORD))
    server = bolt_server(users.with_bolt_faults(BoltFault("endless_text", statement="SHOW DATABASES")))
    process = child(discover_task(server.uri()))

    assert "sent an answer that needs too much memory" in answer(process)["failure"]["error"]
