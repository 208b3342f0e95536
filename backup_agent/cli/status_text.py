"""The text of `backup-agent status`: health, problems, what the agent does, databases, schedules, destinations.

The lines fit the width of the terminal: problems are wrapped, cells of tables are cut.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from backup_agent.cli import printing
from backup_agent.core.artifacts.keys import database_key, name_of
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.escaping import did_you_mean, first_few

LONGEST_NAME = 64
"""Largest number of characters of a name in a table, so that one long name does not widen every row."""

MOST_PROBLEMS = 10
MOST_ROWS = 15
"""Number of problems, and of databases, that are shown unless more are asked for."""

LEAST_ROWS = 5
"""Number of databases that are shown on a terminal of few lines."""

HEAD = ("SET/DATABASE", "STATE", "LAST SUCCESS", "RPO", "LINKS", "SIZE", "COPIES MISSING")

FAIL, WARN = "FAIL", "warn"
"""Outcomes of checks, as `core.doctor.checks` writes them. The models would take most of the time of this command."""

STATES = ("unprotected", "late", "failed", "missing", "waiting", "protected", "excluded")
"""The states of databases, in the order of the table. `failed` is a database whose last backup failed."""


@dataclass(frozen=True)
class Shown:
    """What is shown."""

    problems: bool = False
    """Whether only problems are shown, and all of them."""
    database: str | None = None
    """A glob: only databases that match are shown, and all of them."""
    width: int | None = None
    """Columns of the terminal; None if the output is not a terminal."""
    height: int | None = None
    """Lines of the terminal; None if the output is not a terminal."""


def first_line(status: dict[str, Any]) -> str:
    """Return the health in one line."""
    if "health" in status:
        return str(status["health"]["text"])
    return f"UNKNOWN: {'; '.join(status['not_ready_because']) or 'the health is not known yet'}"


def lines(status: dict[str, Any], shown: Shown) -> list[str]:
    """Return the lines of the status."""
    now = _moment(status["now"])
    found = [*printing.wrapped(first_line(status), shown.width), *_problems(status, now, shown)]
    if shown.problems:
        return found
    if shown.database is None:
        found += ["", *(line for text in _agent(status, now) for line in printing.wrapped(text, shown.width))]
    rest = [] if shown.database is not None else [*_schedules(status, now, shown), *_destinations(status, shown)]
    rows = _rows(status, now, shown)
    most = len(rows) if shown.database is not None else _most_rows(len(found) + len(rest), shown.height)
    if rows:
        found += ["", *printing.table_lines(HEAD, rows[:most], longest=LONGEST_NAME, width=shown.width)]
    elif shown.database is not None:
        names = {name_of(key) for key, *_ in _rows(status, now, Shown(database="*"))}
        found += ["", f"no database matches {shown.database}{did_you_mean(shown.database, names)}"]
    if more := rows[most:]:
        found.append(f"and {_states(more)}: `backup-agent status --database '*'` shows them")
    return found + rest


def _most_rows(others: int, height: int | None) -> int:
    """Return how many databases are shown beside other lines, so that the first line stays on the terminal."""
    beside = 4  # a blank line, the head, the line that counts the other databases, the prompt
    return MOST_ROWS if height is None else max(LEAST_ROWS, height - others - beside)


def _problems(status: dict[str, Any], now: datetime, shown: Shown) -> Iterator[str]:
    """Yield each problem, wrapped, with since when it lasts."""
    found = [
        one
        for one in status.get("health", {}).get("problems", ())
        if shown.database is None or _matches(one["subject"], shown.database)
    ]
    most = MOST_PROBLEMS if not shown.problems and shown.database is None else len(found)
    for one in found[:most]:
        since = f" ({printing.age(now - _moment(one['since']))})" if "since" in one else ""
        yield from printing.wrapped(f"- {one['kind'].replace('_', ' ')}: {one['text']}{since}", shown.width)
    if len(found) > most:
        yield f"- and {len(found) - most} more: `backup-agent status --problems` shows all"
    if shown.problems and not found:
        yield "no problems"


def _matches(key: str, glob: str) -> bool:
    """Return whether a key `<set>/<database>`, or its database alone, matches a glob, ignoring case."""
    glob = glob.lower()
    return fnmatchcase(key.lower(), glob) or fnmatchcase(name_of(key.lower()), glob)


def _agent(status: dict[str, Any], now: datetime) -> Iterator[str]:
    up = printing.age(now - _moment(status["started"]))
    state = "ready" if status["ready"] else "NOT READY: " + "; ".join(status["not_ready_because"])
    yield f"cluster {status['cluster']}: agent {status['version']}, up {up}, {state}"
    yield "; ".join((f"Bolt: {_bolt(status)}", *_topology(status, now), *status["bolt_notes"]))
    yield from _faults(status)
    yield from _doctor(status, now)
    if "volume_free" in status:
        full = f", full on {status['full_on'][:10]} at this rate" if "full_on" in status else ""
        yield f"volume: {printing.size(status['volume_free'])} free of {printing.size(status['volume_total'])}{full}"
    yield f"retention: {_retention(status['retention'])}"
    oldest = (
        f", the oldest for {printing.age(now - _moment(status['queue_oldest']))}" if "queue_oldest" in status else ""
    )
    yield f"queue: {printing.counted(status['queue_depth'], 'request', 'requests')}{oldest}"
    for run in status["running"]:
        done = f", {printing.size(run['bytes'])}" if "bytes" in run else ""
        done += printing.time_left(run.get("estimated_seconds"))
        what = database_key(run["set"], run["database"]) if "database" in run else run.get("destination", "")
        words = " ".join(word for word in (run["kind"], what, run.get("stage", "")) if word)
        yield f"running: {words}, for {run['seconds']:.0f} s{done}"
    yield from _excluded(status)
    if status["forgotten"]:
        yield f"forgotten, so retention deletes every backup of them: {', '.join(status['forgotten'])}"


def _doctor(status: dict[str, Any], now: datetime) -> Iterator[str]:
    """Yield the outcome of the last doctor, and each check that failed for the first time: no problem of health yet."""
    if "doctor" not in status:
        yield "doctor: the checks have not ended yet"
        return
    checks = status["doctor"]["checks"]
    counts = Counter(one["finding"]["outcome"] for one in checks if "accepted" not in one["finding"])
    texts = [f"{counts[outcome]} {outcome}" for outcome in (FAIL, WARN) if counts[outcome]]
    age = printing.age(now - _moment(status["doctor"]["ended"]))
    yield f"doctor, {age} ago: {', '.join(texts) or 'nothing wrong'}; `backup-agent doctor` checks again"
    for one in (check["finding"] for check in checks if check["failed_runs"] == 1):
        where = f" {one['place']}" if "place" in one else ""
        yield f"{FAIL} {one['check']}{where}: {one['found']}"


def _bolt(status: dict[str, Any]) -> str:
    if "bolt_up" not in status:
        return "not asked yet"
    return "answers" if status["bolt_up"] else str(status.get("bolt_error", "does not answer"))


def _retention(rules: dict[str, dict[str, Any]]) -> str:
    """Return the retention rules of each place as text."""
    if not any(rules.values()):
        return "nothing but ad hoc sets is deleted: no `retention` is set"
    written = {place: ", ".join(f"{rule} {value}" for rule, value in found.items()) for place, found in rules.items()}
    without = {str(VOLUME): "nothing but ad hoc sets is deleted"}
    return "; ".join(f"{place}: {text or without.get(place, 'nothing is deleted')}" for place, text in written.items())


def _topology(status: dict[str, Any], now: datetime) -> Iterator[str]:
    """Yield the age of the known topology if Bolt does not answer."""
    if status.get("bolt_up", True):
        return
    if seen := status.get("topology_seen"):
        yield f"the known databases and servers are {printing.age(now - _moment(seen))} old ({seen})"
    else:
        yield "no topology is known"


def _faults(status: dict[str, Any]) -> Iterator[str]:
    """Yield each fault that keeps the agent from working as its settings say."""
    if status["surveyed"] and "survey_failure" in status:
        yield f"SURVEY FAILED, the facts about the volume may be out of date: {status['survey_failure']}"
    for why in status["unprotected_connections"].values():
        yield f"CONNECTION NOT PROTECTED: {why}"
    if not status["requests_watched"]:
        why = status.get("requests_watch_fault", "no reason is known")
        yield f"requests folder NOT WATCHED ({why}): it is listed every 5 seconds"
    if status["settings_waiting"]:
        yield f"settings changed, in force after a restart: {', '.join(status['settings_waiting'])}"


def _excluded(status: dict[str, Any]) -> Iterator[str]:
    """Yield why databases are excluded, with their names."""
    reasons: dict[str, list[str]] = {}
    for database, excluded in status.get("excluded_databases", {}).items():
        reasons.setdefault(excluded["why"], []).append(database)
    for one in status.get("protection", ()):
        if one["state"] == "excluded" and one["database"] not in status.get("excluded_databases", {}):
            reasons.setdefault(one["why"], []).append(one["database"])
    for why, names in reasons.items():
        yield f"excluded: {first_few(names)} {why}"


def _rows(status: dict[str, Any], now: datetime, shown: Shown) -> list[list[str]]:
    """Return a row for each database of each set, the worst state first."""
    stored = {database_key(one["set"], one["database"].lower()): one for one in status.get("databases", ())}
    judged = {database_key(one["set"], one["database"]): one for one in status.get("protection", ())}
    failed = {one["subject"] for one in status.get("health", {}).get("problems", ()) if one["kind"] == "failed"}
    failed |= {
        key for key, one in status["attempts"].items() if key not in judged and one.get("failed_at") == one["at"]
    }
    rows = []
    for key in dict.fromkeys((*judged, *stored, *failed)):
        if shown.database is None or _matches(key, shown.database):
            state = "failed" if key in failed else judged.get(key, {}).get("state", "-")
            rows.append(_row(key, state, stored.get(key, {}), judged.get(key, {}), now))
    ranks = {state: rank for rank, state in enumerate(STATES)}
    return sorted(rows, key=lambda row: (ranks.get(row[1], len(ranks)), row[0]))


def _row(key: str, state: str, stored: dict[str, Any], judged: dict[str, Any], now: datetime) -> list[str]:
    last = max((_moment(text) for text in stored.get("last_success", {}).values()), default=None)
    none = "none restorable" if stored else "never"
    rpo = judged.get("rpo_seconds")
    return [
        key,
        state,
        f"{printing.age(now - last)} ago" if last else none,
        "-" if rpo is None else printing.age(timedelta(seconds=rpo)),
        str(stored.get("chain_links", "-")),
        printing.size(stored["size"]) if stored else "-",
        ", ".join(f"{place} {count}" for place, count in stored.get("owed", {}).items() if count) or "-",
    ]


def _states(rows: Iterable[list[str]]) -> str:
    """Return how many rows have each state, such as `12 protected, 3 excluded`."""
    counts = Counter("without a state" if row[1] == "-" else row[1] for row in rows)
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _schedules(status: dict[str, Any], now: datetime, shown: Shown) -> list[str]:
    if not status["schedules"]:
        return []
    head = ["SCHEDULE", "CRON", "TIMEZONE", "TYPE", "NEXT RUN"]
    rows = [_schedule(name, one, now) for name, one in status["schedules"].items()]
    return ["", *printing.table_lines(head, rows, longest=LONGEST_NAME, width=shown.width)]


def _destinations(status: dict[str, Any], shown: Shown) -> list[str]:
    if not status["destinations"]:
        return []
    found = status["destinations"].items()
    head, rows = ["DESTINATION", "COPIES MISSING", "STATE"], [_destination(name, one) for name, one in found]
    table = printing.table_lines(head, rows, longest=LONGEST_NAME, width=shown.width)
    features = (text for name, one in found for text in _features(name, one))
    return ["", *table, *(line for text in features for line in printing.wrapped(text, shown.width))]


def _schedule(name: str, one: dict[str, Any], now: datetime) -> list[str]:
    coming = [_moment(text) for text in one["next_runs"]]
    soonest = f"{printing.moment(coming[0])}, in {printing.age(coming[0] - now)}" if coming else "suspended"
    return [name, one["cron"], one["timezone"], one["type"], soonest]


def _destination(name: str, one: dict[str, Any]) -> list[str]:
    owed = str(one.get("owed", "not counted yet"))
    if one.get("up") is False:
        retry = f"; next try in {one['retry_seconds']:.0f} s" if "retry_seconds" in one else ""
        return [name, owed, f"DOWN: {one.get('error', one.get('reason'))}{retry}"]
    if one.get("up") and "error" in one:
        return [name, owed, f"up, but some copies failed: {one['error']}"]
    return [name, owed, "up" if one.get("up") else "not tried yet"]


def _features(name: str, one: dict[str, Any]) -> Iterator[str]:
    """Yield the features that a destination's store has, then those that it lacks, with the evidence."""
    found = one.get("features", {})
    if has := [feature for feature, finding in found.items() if finding["has"]]:
        yield f"{name} has {', '.join(has)}"
    for feature, finding in found.items():
        if not finding["has"]:
            yield f"{name} has no {feature}, as of {finding['found'][:10]}: {finding['how']}"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
