"""Random histories and policies, reproducible by their seed, and the comparison of plans with the oracle."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.names import DEFAULT_SET, DatabaseName
from backup_agent.core.retention.plan import Plan, plan
from backup_agent.core.retention.policy import Policy
from tests.builders import an_entry
from tests.core.retention_oracle import Artifacts, Asked, expected, in_force

ZONES = {
    "UTC": datetime(2026, 12, 28, 20, tzinfo=UTC),
    "Europe/Berlin": datetime(2026, 10, 24, 20, tzinfo=UTC),
    "America/New_York": datetime(2026, 3, 8, 2, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2026, 4, 4, 12, tzinfo=UTC),
    "Asia/Kathmandu": datetime(2024, 2, 28, 16, tzinfo=UTC),
    "Pacific/Apia": datetime(2011, 12, 29, 8, tzinfo=UTC),
    "America/St_Johns": datetime(2006, 10, 29, 1, tzinfo=UTC),
    "America/Santiago": datetime(2026, 4, 5, 1, tzinfo=UTC),
}
"""Zone -> a time shortly before the end of a year or a month, or before an unusual change of the UTC offset."""

STEPS = (
    timedelta(seconds=1), timedelta(minutes=7), timedelta(minutes=30), timedelta(hours=1), timedelta(hours=6),
    timedelta(days=1), timedelta(days=3), timedelta(days=8), timedelta(days=31), timedelta(days=200),
)  # fmt: skip


def case(seed: int) -> Asked:
    """Return the case of a seed."""
    random = Random(seed)
    zone = random.choice(list(ZONES))
    groups = random.choice((1, 1, 1, 1, 2, 3))
    entries: list[Entry] = []
    for number in range(groups):
        entries += history(random, ("default", "other")[number // 2], f"db{number}", ZONES[zone])
    random.shuffle(entries)
    times = sorted(entry.taken for entry in entries) or [ZONES[zone]]
    now = times[-1] + random.choice(STEPS) if random.random() < 0.85 else random.choice(times)
    return Asked(
        entries=tuple(entries),
        policy=policy(random, zone),
        now=now,
        held={
            key: random.choice((None, now, now + STEPS[0], now - STEPS[0]))
            for key in sorted(some(random, entries, 0.1))
        },
        damaged=some(random, entries, 0.25),
        unreadable=frozenset({(DEFAULT_SET, DatabaseName("db0"))} if random.random() < 0.02 else ()),
        owed=some(random, entries, 0.08),
        forgotten={DatabaseName("db0"): random.choice(times)} if random.random() < 0.05 else {},
        force=random.random() < 0.6,
    )


def history(random: Random, set_name: str, database: str, start: datetime) -> Iterator[Entry]:
    """Yield backups, most of them in order, some with holes, wrong clocks, another database or a wrong parent."""
    taken, end = start, 10
    step = random.choice(STEPS)
    version = random.choice(("5.26.31", "2025.11.0", "2026.01.4", "2026.02.0", "2026.09.0", None))
    odd = random.choice((0.0, 0.0, 0.05, 0.3))
    done: list[Entry] = []
    for number in range(random.choice((0, 1, 3, 6, 10, 14))):
        kind = random.choice("FDDDDE" if done else "FFFD")
        begin = end + 1
        if random.random() < odd:
            begin += random.choice((-3, -1, 2, 5))
        if kind != "E" and random.random() < 0.8:
            end = max(begin, end) + random.randrange(4)
        lowest, highest = {"F": (1, end), "D": (begin, end), "E": (0, 0)}[kind]
        before = next((one for one in reversed(done) if one.highest), None)
        parent = before.key if kind != "F" and before and random.random() < 0.6 else None
        if kind != "F" and random.random() < odd:
            parent = random.choice(done).key if done and random.random() < 0.5 else f"{set_name}/{database}/gone"
        entry = an_entry(
            f"{kind}{number:02}",
            set_name=set_name,
            database=database,
            taken=taken,
            lowest=lowest,
            highest=highest,
            database_id="two" if random.random() < odd / 2 else "one",
            store_id=f"1-2-record-aligned-1.{1 + (random.random() < odd / 2)}",
            size=random.randrange(1, 100),
            parent=parent,
            version=version,
        )
        done.append(entry)
        yield entry
        if random.random() < 0.3:
            step = random.choice(STEPS)
        taken += -step if random.random() < odd / 3 else step * random.randrange(1 if odd == 0 else 0, 4)


def policy(random: Random, zone: str) -> dict[str, Any]:
    """Return the fields of a policy."""
    rules = dict.fromkeys(("last", "hourly", "daily", "weekly", "monthly", "yearly"))
    chosen = {rule: random.choice((1, 1, 2, 3, 5)) for rule in rules if random.random() < 0.35}
    return {
        **rules,
        **chosen,
        "within": random.choice(STEPS) * 2 if random.random() < 0.2 else None,
        "min_chains": random.choice((1, 1, 1, 2, 3)),
        "min_age": random.choice(STEPS) if random.random() < 0.2 else timedelta(0),
        "timezone": zone,
        "max_delete_share": random.choice((0.3, 0.5, 0.75, 1.0)),
    }


def some(random: Random, entries: list[Entry], share: float) -> frozenset[str]:
    """Return the keys of some artifacts, in most cases of none."""
    return (
        frozenset(entry.key for entry in entries if random.random() < share) if random.random() < 0.3 else frozenset()
    )


def planned(asked: Asked) -> Plan:
    """Return the plan of a case."""
    return plan(
        asked.entries, Policy(**asked.policy), asked.now, held=asked.held, damaged=asked.damaged,
        unreadable=asked.unreadable,
        owed=asked.owed, forgotten=asked.forgotten, force=asked.force,
    )  # fmt: skip


def faults(asked: Asked) -> list[str]:
    """Return the differences between a plan and the oracle, and the invariants that the plan violates."""
    found = planned(asked)
    wanted = expected(asked)
    deleted = [deletion.key for deletion in found.delete]
    reasons = {key: {reason.rule.value for reason in kept} for key, kept in found.keep.items()}
    differences = {
        "kept": (reasons, wanted.keep),
        "deleted": ({deletion.key: deletion.fate.value for deletion in found.delete}, wanted.delete),
        "refused": ({refusal.set for refusal in found.refused}, wanted.refused),
        "broken": ({key: fate.value for key, fate in found.broken.items()}, wanted.broken),
        "future": (set(found.future), wanted.future),
    }
    texts = [
        f"{name}: planned {_but(mine, theirs)}, expected {_but(theirs, mine)}"
        for name, (mine, theirs) in differences.items()
        if mine != theirs
    ]
    if len(set(deleted)) != len(deleted) or set(deleted) | set(found.keep) != {entry.key for entry in asked.entries}:
        texts.append("not every artifact is either kept or deleted exactly once")
    for group in {(entry.set, entry.database) for entry in asked.entries}:
        entries = [entry for entry in asked.entries if (entry.set, entry.database) == group]
        texts += unsafe(entries, deleted, asked, found)
        texts += unheld(entries, deleted, asked)
    return texts


def unsafe(entries: list[Entry], deleted: list[str], asked: Asked, found: Plan) -> Iterator[str]:
    """Yield the artifacts that lack one they need, at any moment of the deletion."""
    everything = Artifacts(entries)
    left = Artifacts((entry for entry in entries if entry.key in found.keep), asked.damaged)
    for entry in left.entries:
        if entry.key not in found.broken and not left.good(entry):
            yield f"{entry.key} is kept but cannot be restored any more"
    place = {key: number for number, key in enumerate(deleted)}
    never = len(deleted)
    for entry in entries:
        for parent in everything.may_need(entry):
            if place.get(parent.key, never) < place.get(entry.key, never):
                yield f"{parent.key} is deleted before {entry.key}, which may need it"


def unheld(entries: list[Entry], deleted: list[str], asked: Asked) -> Iterator[str]:
    """Yield the deleted artifacts that are held now, or that a held one may need."""
    everything = Artifacts(entries)
    waiting = [entry for entry in entries if in_force(asked, entry.key)]
    seen: set[str] = set()
    while waiting:
        entry = waiting.pop()
        if entry.key in seen:
            continue
        seen.add(entry.key)
        waiting += everything.may_need(entry)
        if entry.key in deleted:
            yield f"{entry.key} is deleted, although it is held or a held artifact may need it"


def _but(these: Any, those: Any) -> Any:
    """Return the part of `these` that is not in `those`."""
    if isinstance(these, dict):
        return {key: value for key, value in these.items() if those.get(key) != value}
    return these - those
