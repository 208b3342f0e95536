"""The lease of a destination: one agent holds it at a time, takes it over from a dead one, and loses it when stalled.

All tests except the last run in virtual time: a period costs nothing, and ends at an exact moment.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog import tenure
from backup_agent.catalog.tenure import SEAT_SECONDS, HeldByAnotherError, HeldByLease, Holding, Tenure
from backup_agent.core.ownership.lease import Lease
from backup_agent.core.ownership.owner import Owner
from backup_agent.core.reasons import Failure, PermanentError, Reason, TransientError
from backup_agent.durable import LIMIT
from backup_agent.stores.local import LocalStore
from backup_agent.stores.s3 import S3Store
from backup_agent.stores.store import Store
from tests.catalog.virtual_time import VirtualTime
from tests.components.seaweedfs import ADMIN, BUCKET, SeaweedFS
from tests.stores.faulty import Does, Fault, FaultyStore
from tests.stores.memory_store import MemoryStore

PERIOD = 8.0
LOOK = PERIOD / 4
"""Seconds between two reads by an agent that waits for the lease."""


class Agents:
    """Agents that want the lease of one destination. Each has a name and a folder of its own."""

    def __init__(self, store: Store, folder: Path, time: VirtualTime) -> None:
        self.store = store
        self.folder = folder
        self.time = time

    @property
    def lease(self) -> Lease:
        """The lease at the destination."""
        return Lease.from_json(self.store.read(tenure.KEY, LIMIT))

    def hold(self, name: str, **options: Any) -> AbstractContextManager[HeldByLease]:
        """Hold the lease as a given agent."""
        return self.holding(name).hold(self.store, owner(name), **options)

    def holding(self, name: str) -> Holding:
        """Return a process of a given agent."""
        return Holding(self.folder / name, PERIOD)

    def refused(self, name: str, **options: Any) -> Failure:
        """Return the error with which an agent is refused the lease."""
        with pytest.raises(TransientError) as refused, self.hold(name, **options):
            pytest.fail("it holds the lease")
        return refused.value.failure

    def part(self, name: str) -> Tenure:
        """Return an agent's tenure, whose lease is not taken yet."""
        return Tenure(self.store, owner(name), self.folder / name, PERIOD)

    def take_and_stall(self, name: str) -> Tenure:
        """Let an agent take the lease without a thread that renews it."""
        part = self.part(name)
        part.take(0)
        part._stop.set()
        return part

    def kill_one_that_holds(self, name: str) -> None:
        """Let an agent take the lease and die: its flocks are released, and the lease is not."""
        part = self.part(name)
        part.take(0)
        part.close()


def owner(name: str) -> Owner:
    return Owner(id=name, cluster="demo", agent=f"{name}-pod:/backups")


@pytest.fixture(name="time_")
def _time(monkeypatch: pytest.MonkeyPatch) -> VirtualTime:
    clock = VirtualTime()
    clock.replace_in(tenure, monkeypatch)
    return clock


@pytest.fixture(name="agents")
def _agents(request: pytest.FixtureRequest, tmp_path: Path, time_: VirtualTime) -> Agents:
    """Return agents at a destination in memory, or in the kind of store that `at_each_kind_of_store` names."""
    kind = getattr(request, "param", "memory")
    if kind == "memory":
        return Agents(MemoryStore("offsite"), tmp_path, time_)
    if kind == "local":
        (tmp_path / "place").mkdir()
        return Agents(LocalStore(tmp_path / "place", "offsite"), tmp_path, time_)
    store = s3_store(request.getfixturevalue("seaweedfs"), tmp_path.name, request.getfixturevalue("monkeypatch"))
    return Agents(store, tmp_path, time_)


def s3_store(seaweedfs: SeaweedFS, prefix: str, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    ADMIN.use(monkeypatch)
    return S3Store(**seaweedfs.place(prefix), name="offsite")


at_each_kind_of_store = pytest.mark.parametrize(
    "agents", ["memory", "local", pytest.param("s3", marks=pytest.mark.components)], indirect=True
)


# Taking and giving up


@at_each_kind_of_store
def test_a_lease_is_taken_held_and_released(agents: Agents) -> None:
    with agents.hold("a") as held:
        held.check()
        held.confirm()
        during = agents.lease

    assert (held.number, held.may_delete) == (1, True)
    assert (during.holder, during.number, during.released) == ("a", 1, False)
    assert agents.lease.released


@at_each_kind_of_store
def test_a_released_lease_is_taken_at_once_with_the_next_number(agents: Agents) -> None:
    numbers = []
    for name in ("a", "a", "b", "a"):
        with agents.hold(name) as held:
            numbers.append(held.number)

    assert numbers == [1, 2, 3, 4]


@at_each_kind_of_store
def test_another_agent_is_refused_while_the_holder_renews_and_the_refusal_names_both(agents: Agents) -> None:
    with agents.hold("a") as held:
        refusal = agents.refused("b", wait=6 * PERIOD)
        held.confirm()

    assert refusal.reason is Reason.FOREIGN_ROOT
    assert all(side in refusal.error for side in ("a-pod:/backups", "b-pod:/backups", "offsite"))


@at_each_kind_of_store
def test_the_lease_of_a_dead_agent_is_taken_over_after_three_periods_and_not_before(agents: Agents) -> None:
    agents.kill_one_that_holds("a")
    died = agents.time.now

    with agents.hold("b", wait=20 * PERIOD) as held:
        assert agents.time.now == died + 3 * PERIOD

    assert held.number == 2


def test_children_that_do_not_wait_watch_the_lease_of_another_agent_together(agents: Agents) -> None:
    """Each child notes on the volume what it saw of the lease, so no child has to wait for three periods by itself."""
    agents.kill_one_that_holds("a")
    for _ in range(12):
        agents.refused("b")
        agents.time.advance(LOOK)

    with agents.hold("b") as held:
        assert held.number == 2


def test_a_renewed_lease_is_never_taken_over(agents: Agents) -> None:
    with agents.hold("a"):
        for _ in range(40):
            agents.refused("b")
            agents.time.advance(LOOK)


def test_a_quiet_agent_waits_three_periods_even_for_a_released_lease(agents: Agents) -> None:
    with agents.hold("a"):
        pass
    given_up = agents.time.now

    with agents.hold("b", wait=20 * PERIOD, quiet=True):
        assert agents.time.now == given_up + 3 * PERIOD


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("does", [Does.FAIL, Does.REFUSE, Does.LIE])
def test_after_any_failure_the_next_child_takes_the_lease(agents: Agents, does: Does, nth: int) -> None:
    agents.store = FaultyStore(agents.store, Fault("swap", does, nth=nth))
    with suppress(TransientError, PermanentError), agents.hold("a"):
        pass

    with agents.hold("a") as held:
        held.confirm()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"schema": 2, "holder": "z"}', id="of a newer agent"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff{", id="not text"),
    ],
)
def test_an_unreadable_lease_is_neither_taken_nor_overwritten(agents: Agents, content: bytes) -> None:
    agents.store.create(tenure.KEY, content)

    assert agents.refused("a").reason is Reason.FOREIGN_ROOT
    assert agents.store.read(tenure.KEY, LIMIT) == content


# Processes of one agent


@at_each_kind_of_store
def test_the_lease_of_a_dead_child_is_taken_at_once_by_the_next_child(agents: Agents) -> None:
    agents.kill_one_that_holds("a")

    with agents.hold("a") as held:
        assert held.number == 2


@at_each_kind_of_store
def test_a_process_that_keeps_the_lease_holds_it_between_its_passes_and_releases_it_at_its_end(agents: Agents) -> None:
    process = agents.holding("a")
    process.keeps = True
    numbers = []
    for _ in range(3):
        with process.hold(agents.store, owner("a")) as held:
            numbers.append(held.number)
        agents.time.advance(3 * PERIOD)
        agents.refused("b")

    assert numbers == [1, 1, 1]
    process.end()
    assert agents.lease.released


def test_later_passes_of_a_process_that_keeps_the_lease_send_no_request_for_it(agents: Agents) -> None:
    store = agents.store = FaultyStore(agents.store)
    process = agents.holding("a")
    process.keeps = True
    for number in range(3):
        with process.hold(store, owner("a")) as held:
            held.check()
        if number == 0:
            store.calls.clear()

    assert dict(store.calls) == {}
    process.end()


def test_a_process_whose_lease_was_taken_over_between_two_passes_does_not_go_on(agents: Agents) -> None:
    process = agents.holding("a")
    process.keeps = True
    with process.hold(agents.store, owner("a")):
        pass
    agents.store.delete(tenure.KEY)
    agents.time.advance(2 * PERIOD)

    with pytest.raises(HeldByAnotherError, match="was lost"), process.hold(agents.store, owner("a")):
        pytest.fail("it goes on")
    process.end()


def test_a_second_process_of_an_agent_waits_for_the_first(agents: Agents) -> None:
    first = agents.part("a")
    first.take(0)

    def end() -> None:
        agents.time.advance(SEAT_SECONDS / 2)
        first.give_up()
        first.close()

    def second() -> None:
        with agents.hold("a") as held:
            numbers.append(held.number)

    numbers: list[int | None] = []
    agents.time.run(end, second)

    assert numbers == [2]


def test_a_second_process_of_an_agent_is_refused_in_the_end_and_the_first_goes_on(agents: Agents) -> None:
    with agents.hold("a") as first:
        begun = agents.time.now
        refusal = agents.refused("a")
        assert SEAT_SECONDS <= agents.time.now - begun < SEAT_SECONDS + 1
        first.confirm()

    assert refusal.reason is Reason.TIMEOUT
    assert "another process of this agent" in refusal.error


def test_a_cloned_volume_does_not_take_the_lease_of_the_original(agents: Agents) -> None:
    with agents.hold("a") as held:
        shutil.copytree(agents.folder / "a", agents.folder / "clone")
        with pytest.raises(HeldByAnotherError), Holding(agents.folder / "clone").hold(agents.store, owner("a")):
            pytest.fail("the clone holds the lease")
        held.confirm()


def test_damaged_notes_on_the_volume_cost_one_request(agents: Agents) -> None:
    with agents.hold("a"):
        pass
    notes = agents.folder / "a" / "sight.json"
    notes.write_bytes(b'{"version": "x')

    with agents.hold("a") as held:
        notes.write_bytes(b"")
        held.confirm()

    assert held.number == 2


# Holding


@at_each_kind_of_store
def test_a_stalled_holder_notices_the_takeover_by_another_agent(agents: Agents) -> None:
    stalled = agents.take_and_stall("a")
    with agents.hold("b", wait=20 * PERIOD) as other:
        with pytest.raises(HeldByAnotherError, match="was lost"):
            stalled.check()
        stalled.give_up()
        stalled.close()
        other.confirm()

    assert agents.lease.number == 2


def test_a_stalled_holder_goes_on_if_no_agent_took_the_lease(agents: Agents) -> None:
    stalled = agents.take_and_stall("a")
    agents.time.advance(4 * PERIOD)

    stalled.check()

    assert agents.lease.renewal == 1
    stalled.close()


@pytest.mark.parametrize("does", [Does.FAIL, Does.LIE])
def test_a_renewal_with_a_lost_answer_is_repeated(agents: Agents, does: Does) -> None:
    agents.store = FaultyStore(agents.store, Fault("swap", does, nth=2), Fault("swap", does, nth=3))
    with agents.hold("a") as held:
        agents.time.advance(4 * PERIOD)
        held.check()

    assert agents.lease.released


def test_a_lease_counts_as_lost_once_the_store_is_down_for_two_periods(agents: Agents) -> None:
    store = agents.store = FaultyStore(agents.store, Fault("swap", Does.FAIL, nth=2, lasting=True))
    with agents.hold("a") as held:
        agents.time.advance(2 * PERIOD - 1)
        held.check()
        agents.time.advance(1)
        with pytest.raises(TransientError) as down:
            held.check()
        store.revive()
        held.check()

    assert down.value.failure.reason is Reason.STORAGE_UNREACHABLE


def test_a_lease_that_was_deleted_is_lost_and_its_number_is_not_used_again(agents: Agents) -> None:
    with agents.hold("a") as held:
        agents.store.delete(tenure.KEY)
        with pytest.raises(HeldByAnotherError):
            held.confirm()
        with pytest.raises(HeldByAnotherError):
            held.check()

    with agents.hold("a") as again:
        assert again.number == 2


def test_a_lease_has_the_reason_why_nothing_may_be_deleted(agents: Agents) -> None:
    why = Failure(Reason.FOREIGN_ROOT, "a newer agent was here")

    with agents.hold("a", no_deletion=why) as held:
        assert (held.may_delete, held.no_deletion) == (False, why)


def test_a_pass_costs_two_requests(agents: Agents) -> None:
    store = agents.store = FaultyStore(agents.store)
    for _ in range(3):
        store.calls.clear()
        with agents.hold("a") as held:
            for _ in range(100):
                held.check()

    assert dict(store.calls) == {"swap": 2}


class Versioned(MemoryStore):
    """Keeps each replaced object as an old version."""

    keeps_versions = True


def test_where_versions_are_kept_passes_write_the_lease_once_a_period_together(agents: Agents) -> None:
    store = agents.store = FaultyStore(Versioned("offsite"))
    for _ in range(50):
        with agents.hold("a") as held:
            held.check()
            agents.time.advance(0.1 * PERIOD)
            agents.refused("b")
        agents.time.advance(0.1 * PERIOD)

    assert held.number == 1
    assert 8 <= store.calls["swap"] <= 11


def test_a_lease_that_is_not_released_expires_for_other_agents(agents: Agents) -> None:
    with agents.hold("a", by_expiry=True):
        pass
    assert not agents.lease.released
    left = agents.time.now

    with agents.hold("b", wait=20 * PERIOD) as held:
        assert agents.time.now == left + 3 * PERIOD

    assert held.number == 2


@pytest.mark.parametrize("later", [0.5, 1.5, 2.5])
def test_the_next_child_goes_on_with_a_lease_that_was_not_released(agents: Agents, later: float) -> None:
    store = agents.store = FaultyStore(agents.store)
    with agents.hold("a", by_expiry=True):
        pass
    agents.time.advance(later * PERIOD)
    store.calls.clear()

    with agents.hold("a", by_expiry=True) as held:
        held.check()
        agents.refused("b")

    # Within two periods the lease still counts. Later, another agent may have watched it long enough: it is taken anew.
    assert held.number == (1 if later < 2 else 2)
    assert store.calls["swap"] == (0 if later < 1 else 1)


def test_the_renewing_thread_ends_with_the_lease(agents: Agents) -> None:
    def renewing() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "lease"]

    with agents.hold("a"):
        assert len(renewing()) == 1

    assert renewing() == []


@at_each_kind_of_store
def test_only_one_of_many_agents_holds_the_lease_at_a_time(agents: Agents) -> None:
    """Some die while they hold the lease, some stall. An agent holds the lease until its last successful check."""
    held: list[tuple[float, float, int]] = []
    end = agents.time.now + 40 * PERIOD

    def live(name: str) -> None:
        chance = random.Random(name)
        while agents.time.now < end:
            part = agents.part(name)
            try:
                part.take(PERIOD)
            except HeldByAnotherError:
                part.close()
                agents.time.advance(LOOK)
                continue
            if chance.random() < 0.3:
                part._stop.set()
            taken = last = agents.time.now
            number = part.lease.number
            with suppress(HeldByAnotherError):
                for _ in range(chance.randrange(4)):
                    agents.time.advance(chance.choice((0.5, 1, 2, 4)) * PERIOD)
                    part.check()
                    last = agents.time.now
            held.append((taken, last, number))
            if chance.random() < 0.8:
                part.give_up()
            part.close()

    agents.time.run(*(partial(live, f"agent-{number}") for number in range(4)))

    held.sort(key=lambda one: one[2])
    assert len(held) > 10
    assert [number for _, _, number in held] == list(range(1, len(held) + 1))
    assert all(last <= taken for (_, last, _), (taken, _, _) in pairwise(held))


# Processes, in real time

HOLDER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from backup_agent.catalog.tenure import Holding
    from backup_agent.core.ownership.owner import Owner
    from backup_agent.core.reasons import BackupError
    from backup_agent.stores.s3 import S3Store

    name, folder, bucket, prefix, endpoint = sys.argv[1:]
    store = S3Store(bucket=bucket, prefix=prefix, endpoint_url=endpoint, region="us-east-1", path_style=True)
    try:
        with Holding(Path(folder), 0.5).hold(store, Owner(id=name, cluster="demo"), wait=30) as held:
            print("held", held.number, flush=True)
            sys.stdin.readline()
            held.check()
            store.create(f"default/orders/{name}", b"published")
            print("published", flush=True)
    except BackupError as error:
        print("refused", error.failure.reason, flush=True)
""")


class Holder:
    """A process that takes the lease, reports it, and publishes on command."""

    def __init__(self, name: str, *arguments: str) -> None:
        command = [sys.executable, "-c", HOLDER, name, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def publish(self) -> str:
        """Let the process publish. Return its reply."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.says()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(name="start")
def _start(seaweedfs: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Holder]]:
    s3_store(seaweedfs, tmp_path.name, monkeypatch)
    started: list[Holder] = []

    def start(name: str) -> Holder:
        started.append(Holder(name, str(tmp_path / name), BUCKET, tmp_path.name, seaweedfs.endpoint_url))
        return started[-1]

    yield start
    for holder in started:
        holder.kill()


@pytest.mark.components
def test_a_process_that_wakes_up_after_a_takeover_publishes_nothing(
    start: Callable[[str], Holder], seaweedfs: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start("first")
    assert first.says() == "held 1"
    os.kill(first.process.pid, signal.SIGSTOP)
    second = start("second")
    assert second.says() == "held 2"
    os.kill(first.process.pid, signal.SIGCONT)

    assert first.publish() == "refused foreign_root"
    assert second.publish() == "published"
    listed = s3_store(seaweedfs, tmp_path.name, monkeypatch).list()
    assert [stored.key for stored in listed] == ["default/orders/second"]


@pytest.mark.components
def test_after_a_kill_the_same_agent_gets_the_lease_at_once_and_another_later(
    start: Callable[[str], Holder],
) -> None:
    first = start("first")
    assert first.says() == "held 1"
    first.kill()
    begun = time.monotonic()
    again = start("first")
    assert again.says() == "held 2"
    again.kill()

    assert start("other").says() == "held 3"
    assert time.monotonic() - begun >= 1.5
