"""`backup-agent status`."""

import errno
import http.client
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from backup_agent.cli import printing
from backup_agent.cli.options import config_path, json_option, settings_option
from backup_agent.core.artifacts.keys import database_key
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.escaping import first_few
from backup_agent.core.json_reader import read_json
from backup_agent.core.reasons import Reason, TransientError
from backup_agent.settings.page import page_address

if TYPE_CHECKING:
    from backup_agent.settings.model import Settings

PATIENCE_SECONDS = 10.0
LARGEST = 64 * 2**20
"""Largest size of a status in bytes. A thousand databases take a few MiB."""
LONGEST_NAME = 64
"""Largest number of characters of a name in a table, so that one long name does not widen every row."""

HEAD = ("SET/DATABASE", "LAST SUCCESS", "CHAIN", "ARTIFACTS", "SIZE", "COPIES MISSING", "LAST FAILURE")


@click.command()
@settings_option
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> int:
    """Show the state of the running agent.

    Tells what it is doing, what it has stored and what is next. Asks the agent over HTTP. Exits 0 if the agent is
    ready, 3 if it is not ready, 1 if it does not answer.
    """
    status = _status(context)
    if as_json:
        printing.as_json(status)
    else:
        _print(status)
    if not status["settings_valid"]:
        _settings(context)
    return 0 if status["ready"] else 3


def _status(context: click.Context) -> Any:  # noqa: ANN401  the JSON of Status
    try:
        return ask(page_address(config_path(context), os.environ) or _settings(context).http.page_address)
    except TransientError:
        _settings(context)
        raise


def _settings(context: click.Context) -> "Settings":
    """Check all settings. Raise SettingsError with every fault."""
    from backup_agent.cli.configured import loaded  # noqa: PLC0415  seldom needed, and more than half of the time

    return loaded(context).settings


def ask(address: tuple[str, int]) -> Any:  # noqa: ANN401  the JSON of Status
    """Return /status.json of the agent that serves at host and port. Raise TransientError if it does not answer."""
    host, port = address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104  listen addresses
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/status.json"
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_SECONDS)  # uses no proxy
    try:
        with closing(connection):
            connection.request("GET", "/status.json")
            reply = connection.getresponse()
            if reply.status != http.client.OK:
                raise _no_answer(url, f"HTTP {reply.status}")
            text = reply.read(LARGEST + 1)
            if len(text) > LARGEST:
                raise OSError(errno.EFBIG, f"the status is larger than {LARGEST} bytes")
            return read_json(text)
    except (http.client.HTTPException, OSError, ValueError) as error:
        # Quoted is the system's message, or else only the kind of error.
        raise _no_answer(url, getattr(error, "strerror", None) or type(error).__name__) from None


def _no_answer(url: str, why: str) -> TransientError:
    return TransientError(
        Reason.NO_AGENT,
        f"{url}: the agent does not answer ({why})",
        "is `backup-agent run` running in this pod? `backup-agent list` works without it",
    )


def _print(status: dict[str, Any]) -> None:
    now = _moment(status["now"])
    printing.lines(_agent(status, now))
    rows = list(_databases(status, now))
    if rows:
        printing.line()
        printing.table(HEAD, rows, longest=LONGEST_NAME)
    if status["schedules"]:
        printing.line()
        schedules = [_schedule(name, one, now) for name, one in status["schedules"].items()]
        printing.table(["SCHEDULE", "CRON", "TIMEZONE", "TYPE", "NEXT RUN"], schedules, longest=LONGEST_NAME)
    if status["destinations"]:
        printing.line()
        destinations = [_destination(name, one) for name, one in status["destinations"].items()]
        printing.table(["DESTINATION", "COPIES MISSING", "STATE"], destinations, longest=LONGEST_NAME)
        printing.lines(line for name, one in status["destinations"].items() for line in _features(name, one))


def _agent(status: dict[str, Any], now: datetime) -> Iterator[str]:
    up = printing.age(now - _moment(status["started"]))
    state = "ready" if status["ready"] else "NOT READY: " + "; ".join(status["not_ready_because"])
    yield f"cluster {status['cluster']}: agent {status['version']}, up {up}, {state}"
    if pause := status.get("paused"):
        by = f" by {pause['requested_by']}" if "requested_by" in pause else ""
        why = f" ({pause['reason']})" if "reason" in pause else ""
        end = f"{pause['until']} or `resume`" if "until" in pause else "`resume`"
        yield f"PAUSED{by} {printing.age(now - _moment(pause['since']))} ago{why}: no work is started until {end}"
        if pause["overlong"]:
            yield "PROBLEM: the pause is older than a day, and no backups were taken meanwhile"
    yield "; ".join((f"Bolt: {_bolt(status)}", *_topology(status, now), *status["bolt_notes"]))
    yield from _faults(status)
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
    for place, one in status["places"].items():
        yield from _place(place, one)
    for database in status["missing_databases"]:
        yield f"MISSING: SHOW DATABASES no longer lists {database}"
    for database, seen in status.get("without_full", {}).items():
        yield (
            f"PROBLEM: {database} was replaced or created again, first seen {printing.age(now - _moment(seen))} ago, "
            "and has no FULL since. One is taken when all copies are online"
        )
    for database, excluded in status.get("excluded_databases", {}).items():
        yield f"not backed up: {database} {excluded['why']}"
    if status["forgotten"]:
        yield f"forgotten, so retention deletes every backup of them: {', '.join(status['forgotten'])}"


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
    if not status["settings_valid"]:
        yield f"SETTINGS REFUSED, the last good ones are in force: {status['settings_fault']}"
    if fault := status.get("signing_fault"):
        yield f"NOT SIGNED, records are written without a signature: {fault}"
    for why in status["unprotected_connections"].values():
        yield f"CONNECTION NOT PROTECTED: {why}"
    if not status["requests_watched"]:
        why = status.get("requests_watch_fault", "no reason is known")
        yield f"requests folder NOT WATCHED ({why}): it is listed every 5 seconds"
    if status["settings_waiting"]:
        yield f"settings changed, in force after a restart: {', '.join(status['settings_waiting'])}"


def _place(place: str, one: dict[str, Any]) -> Iterator[str]:
    """Yield each fault at a place."""
    if "blocked" in one:
        yield f"RETENTION BLOCKED at {place} ({one['blocked']}): {one.get('error', 'no more is known')}"
    if damaged := one.get("damaged"):
        yield f"DAMAGED at {place} ({len(damaged)}): {first_few(damaged)}"
    for why, keys in one.get("unreadable", {}).items():
        if keys:
            yield f"NOT VERIFIABLE at {place}, {why.replace('_', ' ')} ({len(keys)}): {first_few(keys)}"
    if number := one.get("unrecognised"):
        records = printing.counted(number, "record", "records")
        yield f"NOT RECOGNISED at {place}: {records}; `backup-agent catalog unrecognised` lists them"
    if broken := one.get("unrestorable"):
        yield f"CHAIN BROKEN at {place}, cannot be restored ({len(broken)}): {first_few(broken)}"


def _databases(status: dict[str, Any], now: datetime) -> Iterator[list[str]]:
    """Yield a row for each database. Databases without an artifact, whose backup failed, come last."""
    attempts = dict(status["attempts"])
    for one in status.get("databases", ()):
        name = database_key(one["set"], one["database"])
        last = max((_moment(text) for text in one["last_success"].values()), default=None)
        yield [
            name,
            f"{printing.age(now - last)} ago" if last else "none restorable",
            printing.counted(one["chain_links"], "link", "links"),
            str(one["artifacts"]),
            printing.size(one["size"]),
            ", ".join(f"{place} {count}" for place, count in one["owed"].items() if count) or "-",
            _failure(attempts.pop(name, {}), now),
        ]
    for name, attempt in attempts.items():
        if attempt.get("failed_at"):
            yield [name, "never", "-", "0", "-", "-", _failure(attempt, now)]


def _failure(attempt: dict[str, Any], now: datetime) -> str:
    if not attempt.get("failed_at"):
        return "-"
    return f"{attempt['reason']}, {printing.age(now - _moment(attempt['failed_at']))} ago"


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
