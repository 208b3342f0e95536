"""`backup-agent doctor --cluster`: what it prints, how long it asks, and its exit codes."""

from collections.abc import Iterator

import pytest

from backup_agent.cli.cluster_state import text, when_settled
from backup_agent.core.neo4j.cluster_state import ClusterState, SeenServer
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.standins.bolt import BoltServer
from backup_agent.standins.cluster import save, three_servers
from tests.cli.conftest import Place

HOST = "demo-server-{}.demo-headless.default.svc.cluster.local:7687"
SERVERS = tuple(
    SeenServer(
        name=f"id-{n}", address=HOST.format(n), version="2026.09.0", state="Enabled", health="Available", hosting=3,
        requested=3,
    )
    for n in range(3)
)  # fmt: skip
SETTLED = ClusterState(servers=SERVERS, databases=3)
BUSY = ClusterState(servers=SERVERS, databases=3, reasons=("x is starting", "y is Unavailable"), more_reasons=1)
AWAY = TransientError(Reason.SOURCE_UNREACHABLE, "server-0:7687 refused the connection")
REFUSED = PermanentError(Reason.SOURCE_UNREACHABLE, "wrong user name or password")
UNSEEN = ClusterState(servers=(), databases=1, reasons=("z is starting",), unseen=("SHOW SERVERS is not granted",))


def test_a_settled_cluster_is_a_table_and_a_verdict_within_80_columns() -> None:
    found = list(text(SETTLED, 80))

    assert found == [
        "SERVER                                  VERSION    STATE    HEALTH     DATABASES",
        *(f"demo-server-{n}.demo-…cluster.local:7687  2026.09.0  Enabled  Available  3 of 3" for n in range(3)),
        "settled: the next server may be restarted (3 servers, 3 databases)",
    ]
    assert max(map(len, found)) <= 80


def test_each_reason_to_wait_has_a_line_and_the_verdict_is_last() -> None:
    assert list(text(BUSY, 80))[4:] == [
        "wait: x is starting",
        "wait: y is Unavailable",
        "wait: 1 more reason",
        "not settled: restart no server yet (3 servers, 3 databases)",
    ]


def test_facts_that_cannot_be_seen_are_listed_before_the_verdict() -> None:
    assert list(text(UNSEEN, 80)) == [
        "wait: z is starting",
        "unknown: SHOW SERVERS is not granted",
        "not known whether the cluster is settled: restart no server (0 servers, 1 database)",
    ]


class Scripted:
    """Gives one answer after another, and then repeats the last one."""

    def __init__(self, *answers: ClusterState | BackupError) -> None:
        self._answers = answers
        self.asked = 0

    def __call__(self) -> ClusterState:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        if isinstance(answer, BackupError):
            raise answer
        return answer


def test_without_a_wait_the_cluster_is_asked_once() -> None:
    ask = Scripted(BUSY, SETTLED)

    assert when_settled(ask, 0.0) is BUSY
    assert ask.asked == 1


def test_a_wait_ends_when_the_cluster_is_settled_and_says_what_it_waits_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ask = Scripted(BUSY, BUSY, AWAY, SETTLED)

    assert when_settled(ask, 60.0, pause=0.001) is SETTLED
    assert ask.asked == 4
    assert capsys.readouterr().err.splitlines() == [
        "waiting: x is starting, and 2 more reasons",
        "waiting: server-0:7687 refused the connection",
    ]


def test_a_wait_ends_with_the_last_answer_when_its_time_is_over() -> None:
    assert when_settled(Scripted(BUSY), 0.01, pause=0.001) is BUSY
    with pytest.raises(TransientError, match="refused the connection"):
        when_settled(Scripted(BUSY, AWAY), 0.01, pause=0.001)


def test_a_failure_that_will_not_pass_ends_the_wait_at_once() -> None:
    ask, refused = Scripted(UNSEEN, SETTLED), Scripted(REFUSED, SETTLED)

    assert when_settled(ask, 60.0, pause=0.001) is UNSEEN
    with pytest.raises(PermanentError, match="wrong user name"):
        when_settled(refused, 60.0, pause=0.001)
    assert (ask.asked, refused.asked) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--cluster", "--write"], "--write or --cluster, not both"),
        (["--wait", "5m"], "--servers and --wait need --cluster"),
        (["--servers", "3"], "--servers and --wait need --cluster"),
        (["--cluster", "--wait", "soon"], "a duration such as 90s, 15m, 6h or 30d"),
        (["--cluster", "--servers", "0"], "0 is not in the range"),
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(place: Place, arguments: list[str], expected: str) -> None:
    result = place.run("doctor", *arguments)

    assert result.code == 2
    assert expected in result.err


@pytest.fixture(name="cluster")
def _cluster(place: Place) -> Iterator[BoltServer]:
    """Serve three servers over Bolt, and let the settings name them."""
    folder = place.folder / "cluster"
    folder.mkdir()
    password = place.folder / "password"
    password.write_text("sesame-open-42")
    save(three_servers(), folder)
    with BoltServer(folder) as server:
        place.settings["neo4j"] = {"uri": server.uri("server-0", scheme="neo4j"), "password_file": str(password)}
        yield server


@pytest.mark.process
def test_the_exit_code_says_whether_the_next_server_may_go(place: Place, cluster: BoltServer) -> None:
    settled = place.run("doctor", "--cluster", "--servers", "3", "--json")
    cluster.change(three_servers().with_server_down("server-2"))
    waits = place.run("doctor", "--cluster", "--wait", "1s")
    cluster.change(three_servers().with_server_down("server-0"))
    none = place.run("doctor", "--cluster", "--json")

    assert (settled.code, settled.json["settled"], settled.json["databases"]) == (0, True, 3)
    assert waits.code == 3
    assert "is Unavailable, not Available" in waits.out
    assert waits.out.splitlines()[-1] == "not settled: restart no server yet (3 servers, 3 databases)"
    assert (none.code, none.out) == (1, "")
    assert '"reason": "source_unreachable"' in none.err
