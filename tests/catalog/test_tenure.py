"""Holding the lease of a destination: never two at once, taken over from the dead, found out by the stalled."""

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
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from backup_agent.catalog import tenure
from backup_agent.catalog.tenure import HeldByAnotherError, Tenure, hold
from backup_agent.core.ownership.lease import Lease
from backup_agent.core.ownership.owner import Owner
from backup_agent.core.reasons import Failure, PermanentError, Reason, TransientError
from backup_agent.durable import LIMIT
from backup_agent.stores.local import LocalStore
from backup_agent.stores.memory import MemoryStore
from backup_agent.stores.s3 import S3Store
from backup_agent.stores.store import Store
from tests.components.seaweedfs import ADMIN, BUCKET, SeaweedFS
from tests.stores.faulty import Does, Fault, FaultyStore

PERIOD = 0.1
"""Short, and long enough for a loaded machine to renew in time."""


def agent(name: str) -> Owner:
    return Owner(id=name, cluster="demo", agent=f"{name}-pod:/backups")


def standing(store: Store) -> Lease:
    return Lease.from_json(store.read(tenure.KEY, LIMIT))


def killed(store: Store, owner: Owner, folder: Path, period: float = PERIOD) -> Tenure:
    """Return the tenure of a holder that was killed: its flocks are gone, and nothing was given up."""
    tenure = Tenure(store, owner, folder, period)
    tenure.take(0)
    tenure.close()
    return tenure


@pytest.fixture(
    params=[pytest.param("memory"), pytest.param("local"), pytest.param("s3", marks=pytest.mark.components)]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each kind of store in turn."""
    if request.param == "memory":
        return MemoryStore("offsite")
    if request.param == "local":
        (tmp_path / "place").mkdir()
        return LocalStore(tmp_path / "place", "offsite")
    return s3_store(request.getfixturevalue("seaweedfs"), tmp_path.name, request.getfixturevalue("monkeypatch"))


def s3_store(seaweedfs: SeaweedFS, prefix: str, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ADMIN.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ADMIN.secret_key)
    return S3Store(
        bucket=BUCKET,
        prefix=prefix,
        endpoint_url=seaweedfs.endpoint_url,
        region="us-east-1",
        path_style=True,
        name="offsite",
    )


def test_a_lease_is_taken_held_and_given_up(store: Store, tmp_path: Path) -> None:
    with hold(store, agent("a"), tmp_path / "a", period=PERIOD) as held:
        held.check()
        held.confirm()
        there = standing(store)

    assert (held.number, held.may_delete) == (1, True)
    assert (there.holder, there.number, there.released) == ("a", 1, False)
    assert standing(store).released


def test_what_was_given_up_is_taken_at_once_with_the_next_number(store: Store, tmp_path: Path) -> None:
    numbers = []
    for name in ("a", "a", "b", "a"):
        with hold(store, agent(name), tmp_path / name, period=60) as held:
            numbers.append(held.number)

    assert numbers == [1, 2, 3, 4]


def test_another_agent_is_refused_for_as_long_as_it_is_renewed_and_told_both_sides(
    store: Store, tmp_path: Path
) -> None:
    with hold(store, agent("a"), tmp_path / "a", period=PERIOD) as held:
        with (
            pytest.raises(TransientError) as refused,
            hold(store, agent("b"), tmp_path / "b", wait=6 * PERIOD, period=PERIOD),
        ):
            raise AssertionError("two hold it")
        held.confirm()

    assert refused.value.failure.reason is Reason.FOREIGN_ROOT
    for side in ("a-pod:/backups", "b-pod:/backups", "offsite"):
        assert side in refused.value.failure.error


def test_the_lease_of_a_dead_agent_is_taken_over_after_three_periods_and_not_before(
    store: Store, tmp_path: Path
) -> None:
    killed(store, agent("a"), tmp_path / "a")
    begun = time.monotonic()

    with hold(store, agent("b"), tmp_path / "b", wait=20 * PERIOD, period=PERIOD) as held:
        waited = time.monotonic() - begun

    assert held.number == 2
    assert waited >= 3 * PERIOD


def test_children_that_do_not_wait_watch_a_strangers_lease_together(tmp_path: Path) -> None:
    """State of watching is kept on the volume: none of them has to wait three periods for itself."""
    store = MemoryStore("offsite")
    killed(store, agent("a"), tmp_path / "a")
    begun, refusals = time.monotonic(), 0
    while True:
        try:
            with hold(store, agent("b"), tmp_path / "b", period=PERIOD) as held:
                break
        except HeldByAnotherError:
            refusals += 1
            time.sleep(PERIOD / 4)

    assert held.number == 2
    assert refusals > 1
    assert 3 * PERIOD <= time.monotonic() - begun < 6 * PERIOD


def test_a_lease_that_moves_is_never_taken_however_long_it_is_watched(tmp_path: Path) -> None:
    store = MemoryStore("offsite")
    alive = Tenure(store, agent("a"), tmp_path / "a", 60)
    alive.take(0)
    for _ in range(8):
        with pytest.raises(HeldByAnotherError), hold(store, agent("b"), tmp_path / "b", period=PERIOD):
            raise AssertionError("two hold it")
        alive.renew(due=0)
    alive.give_up()
    alive.close()


def test_what_a_child_of_the_same_agent_left_is_taken_up_at_once(store: Store, tmp_path: Path) -> None:
    killed(store, agent("a"), tmp_path / "a", period=60)

    with hold(store, agent("a"), tmp_path / "a", period=60) as held:
        assert held.number == 2


def test_a_clone_of_the_volume_does_not_take_up_what_the_original_holds(tmp_path: Path) -> None:
    store = MemoryStore("offsite")
    with hold(store, agent("a"), tmp_path / "a", period=60) as held:
        shutil.copytree(tmp_path / "a", tmp_path / "clone")
        with pytest.raises(HeldByAnotherError), hold(store, agent("a"), tmp_path / "clone", period=60):
            raise AssertionError("two hold it")
        held.confirm()


def test_children_of_one_agent_hold_it_together_and_the_last_gives_it_up(store: Store, tmp_path: Path) -> None:
    with hold(store, agent("a"), tmp_path / "a", period=PERIOD) as first:
        with hold(store, agent("a"), tmp_path / "a", period=PERIOD) as second:
            assert first.number == second.number == 1
            time.sleep(3 * PERIOD)
            first.check()
            second.check()
        first.confirm()
        with pytest.raises(HeldByAnotherError), hold(store, agent("b"), tmp_path / "b", period=PERIOD):
            raise AssertionError("two hold it")
    assert standing(store).released


def test_a_holder_that_could_not_renew_finds_out_that_another_took_over(store: Store, tmp_path: Path) -> None:
    stalled = Tenure(store, agent("a"), tmp_path / "a", PERIOD)
    stalled._stop.set()  # its thread renews nothing
    stalled.take(0)
    with hold(store, agent("b"), tmp_path / "b", wait=20 * PERIOD, period=PERIOD) as other:
        with pytest.raises(HeldByAnotherError) as lost:
            stalled.check()
        stalled.give_up()
        stalled.close()
        other.confirm()

    assert "was lost" in lost.value.failure.error
    assert standing(store).number == 2


def test_a_holder_that_nobody_took_over_from_goes_on(tmp_path: Path) -> None:
    store = MemoryStore("offsite")
    stalled = Tenure(store, agent("a"), tmp_path / "a", PERIOD)
    stalled._stop.set()
    stalled.take(0)
    time.sleep(4 * PERIOD)

    stalled.check()

    assert standing(store).renewal == 1
    stalled.close()


@pytest.mark.parametrize("does", [Does.FAIL, Does.LIE])
def test_a_renewal_that_seemed_to_fail_is_made_again(tmp_path: Path, does: Does) -> None:
    store = FaultyStore(MemoryStore("offsite"), Fault("swap", does, nth=2), Fault("swap", does, nth=3))
    with hold(store, agent("a"), tmp_path / "a", period=PERIOD) as held:
        time.sleep(4 * PERIOD)
        held.check()

    assert standing(store.inner).released


def test_a_holder_of_a_store_that_is_down_may_do_nothing_after_two_periods(tmp_path: Path) -> None:
    store = FaultyStore(MemoryStore("offsite"), Fault("swap", Does.FAIL, nth=2, lasting=True))
    with hold(store, agent("a"), tmp_path / "a", period=PERIOD) as held:
        held.check()
        time.sleep(3 * PERIOD)
        with pytest.raises(TransientError) as down:
            held.check()
        store.revive()
        held.check()

    assert down.value.failure.reason is Reason.STORAGE_UNREACHABLE


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("does", list(Does)[:3])
def test_whatever_goes_wrong_when_it_is_taken_or_given_up_the_next_takes_it(
    tmp_path: Path, does: Does, nth: int
) -> None:
    store = FaultyStore(MemoryStore("offsite"), Fault("swap", does, nth=nth))
    try:
        with hold(store, agent("a"), tmp_path / "a", period=60):
            pass
    except (TransientError, PermanentError):
        pass

    with hold(store, agent("a"), tmp_path / "a", period=60) as held:
        held.confirm()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"schema": 2, "holder": "z"}', id="of a newer agent"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff{", id="no text"),
    ],
)
def test_what_is_no_lease_of_this_version_is_neither_taken_nor_overwritten(tmp_path: Path, content: bytes) -> None:
    store = MemoryStore("offsite")
    store.create(tenure.KEY, content)

    with pytest.raises(TransientError) as refused, hold(store, agent("a"), tmp_path / "a"):
        raise AssertionError("taken")

    assert refused.value.failure.reason is Reason.FOREIGN_ROOT
    assert store.read(tenure.KEY, LIMIT) == content


def test_a_lease_that_somebody_deleted_is_lost_and_its_number_does_not_come_again(tmp_path: Path) -> None:
    store = MemoryStore("offsite")
    with hold(store, agent("a"), tmp_path / "a", period=60) as held:
        store.delete(tenure.KEY)
        with pytest.raises(HeldByAnotherError):
            held.confirm()
    with hold(store, agent("a"), tmp_path / "a", period=60) as again:
        assert again.number == 2


def test_a_quiet_taker_waits_three_periods_for_what_was_given_up_too(tmp_path: Path) -> None:
    store = MemoryStore("offsite")
    with hold(store, agent("a"), tmp_path / "a", period=PERIOD):
        pass
    begun = time.monotonic()

    with hold(store, agent("b"), tmp_path / "b", wait=20 * PERIOD, period=PERIOD, quiet=True):
        assert time.monotonic() - begun >= 3 * PERIOD


def test_a_lease_says_why_nothing_may_be_deleted_under_it(tmp_path: Path) -> None:
    why = Failure(Reason.FOREIGN_ROOT, "a newer agent was here")
    with hold(MemoryStore(), agent("a"), tmp_path / "a", no_deletion=why) as held:
        assert not held.may_delete
        assert held.no_deletion is why


def test_a_pass_costs_two_requests(tmp_path: Path) -> None:
    store = FaultyStore(MemoryStore("offsite"))
    for _ in range(3):
        store.calls.clear()
        with hold(store, agent("a"), tmp_path / "a") as held:
            for _ in range(100):
                held.check()

    assert dict(store.calls) == {"swap": 2}


def test_notes_that_are_torn_or_cannot_be_written_cost_a_look_and_no_more(tmp_path: Path) -> None:
    store = MemoryStore("offsite")
    with hold(store, agent("a"), tmp_path / "a", period=60):
        pass
    (tmp_path / "a" / "sight.json").write_bytes(b'{"version": "x')

    with hold(store, agent("a"), tmp_path / "a", period=60) as held:
        (tmp_path / "a" / "sight.json").write_bytes(b"")
        held.confirm()

    assert held.number == 2


def test_of_many_agents_one_holds_it_at_a_time(store: Store, tmp_path: Path) -> None:
    """Some die holding it. A holder's time is from taking it to its last good check."""
    held_from_to: list[tuple[float, float, int]] = []
    until = time.monotonic() + 20 * PERIOD

    def live(name: str) -> None:
        chance = random.Random(name)
        while time.monotonic() < until:
            tenure = Tenure(store, agent(name), tmp_path / name, PERIOD)
            try:
                tenure.take(PERIOD)
            except HeldByAnotherError:
                tenure.close()
                continue
            taken = last = time.monotonic()
            number = tenure.lease.number
            with suppress(HeldByAnotherError):  # a machine so busy that it could not renew
                for _ in range(chance.randrange(4)):
                    time.sleep(chance.random() * PERIOD)
                    tenure.check()
                    last = time.monotonic()
            held_from_to.append((taken, last, number))
            if chance.random() < 0.8:
                tenure.give_up()
            tenure.close()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(live, f"agent-{number}") for number in range(4)]:
            done.result()

    held_from_to.sort()
    numbers = [number for _, _, number in held_from_to]
    assert len(held_from_to) > 4
    assert numbers == sorted(set(numbers))
    for (_, end, _), (start, _, _) in pairwise(held_from_to):
        assert end <= start


HOLDER = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from backup_agent.catalog.tenure import hold
    from backup_agent.core.ownership.owner import Owner
    from backup_agent.core.reasons import BackupError
    from backup_agent.stores.s3 import S3Store

    name, folder, bucket, prefix, endpoint, period = sys.argv[1:]
    store = S3Store(bucket=bucket, prefix=prefix, endpoint_url=endpoint, region="us-east-1", path_style=True)
    try:
        with hold(store, Owner(id=name, cluster="demo"), Path(folder), wait=30, period=float(period)) as held:
            print("held", held.number, flush=True)
            sys.stdin.readline()
            held.check()
            store.create(f"default/orders/{name}", b"published")
            print("published", flush=True)
    except BackupError as error:
        print("refused", error.failure.reason, flush=True)
""")


@pytest.fixture
def holder(
    seaweedfs: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start processes that take the lease, say so, and publish when a line comes."""
    s3_store(seaweedfs, tmp_path.name, monkeypatch)
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        place = (str(tmp_path / name), BUCKET, tmp_path.name, seaweedfs.endpoint_url, "0.5")
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, name, *place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.components
def test_a_stopped_process_that_wakes_up_after_a_takeover_publishes_nothing(
    holder: Callable[[str], subprocess.Popen[str]],
    seaweedfs: SeaweedFS,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = holder("first")
    assert said(first) == "held 1"
    os.kill(first.pid, signal.SIGSTOP)
    second = holder("second")
    assert said(second) == "held 2"
    os.kill(first.pid, signal.SIGCONT)
    tell(first)
    assert said(first) == "refused foreign_root"
    tell(second)
    assert said(second) == "published"

    listed = s3_store(seaweedfs, tmp_path.name, monkeypatch).list()
    assert [stored.key for stored in listed] == ["default/orders/second"]


@pytest.mark.components
def test_a_process_that_is_killed_is_followed_at_once_by_its_own_agent_and_later_by_another(
    holder: Callable[[str], subprocess.Popen[str]],
) -> None:
    first = holder("first")
    assert said(first) == "held 1"
    first.kill()
    first.wait()
    begun = time.monotonic()
    again = holder("first")
    assert said(again) == "held 2"
    again.kill()
    again.wait()
    other = holder("other")
    assert said(other) == "held 3"
    assert time.monotonic() - begun >= 1.5


def test_the_thread_that_renews_ends_with_the_lease(tmp_path: Path) -> None:
    with hold(MemoryStore(), agent("a"), tmp_path / "a", period=PERIOD):
        assert any(thread.name == "lease" for thread in threading.enumerate())

    assert not any(thread.name == "lease" for thread in threading.enumerate())
