"""`backup-agent status`."""

import json
import urllib.error
import urllib.request
from datetime import datetime
from typing import Any

import click

from backup_agent.cli import printing
from backup_agent.cli.configured import json_option, loaded, settings_option
from backup_agent.core.reasons import BackupError, Reason, TransientError
from backup_agent.settings.model import Settings


@click.command(short_help="Show what the agent does now.")
@settings_option
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> int:
    """Ask the running agent over HTTP what it does, what it has and what comes next."""
    try:
        status = ask(loaded(context).settings)
    except BackupError as error:
        click.echo(f"backup-agent: {error.failure.error}\nHINT: {error.failure.advice}", err=True)
        return 1
    if as_json:
        printing.as_json(status)
    else:
        _print(status)
    return 0 if status["ready"] else 3


def ask(settings: Settings) -> Any:  # noqa: ANN401  the JSON of Status
    """Return /status.json of the agent of these settings; raise TransientError where it does not answer."""
    host = settings.http.host
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, host)  # noqa: S104  where it listens
    url = f"http://{host}:{settings.http.port}/status.json"
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return json.load(reply)
    except (urllib.error.URLError, OSError, ValueError) as error:
        cause = getattr(error, "reason", error)
        raise TransientError(
            Reason.NOT_FOUND,
            f"{url}: the agent does not answer ({cause})",
            "is `backup-agent run` running in this pod?",
        ) from None


def _print(status: dict[str, Any]) -> None:
    now = _moment(status["now"])
    click.echo(
        f"{status['cluster']}: agent {status['version']}, up {printing.age(now - _moment(status['started']))}, "
        + ("ready" if status["ready"] else "NOT READY: " + "; ".join(status["not_ready_because"]))
    )
    click.echo(f"Bolt: {status.get('bolt', 'not asked yet')}")
    if not status["settings_valid"]:
        click.echo(f"SETTINGS REFUSED, the last good ones are in force: {status['settings_fault']}")
    click.echo(f"queue: {status['queue_depth']}; {status['retention']}")
    if "volume_free" in status:
        full = f", full on {status['full_on'][:10]} at this rate" if "full_on" in status else ""
        click.echo(
            f"volume: {printing.size(status['volume_free'])} free of {printing.size(status['volume_total'])}{full}"
        )
    for run in status["running"]:
        done = f", {printing.size(run['bytes'])}" if "bytes" in run else ""
        what = f"{run['set']}/{run['database']}" if "database" in run else run.get("destination", "")
        click.echo(f"running: {run['kind']} {what} {run.get('stage', '')} for {run['seconds']:.0f} s{done}")
    for database in status["missing_databases"]:
        click.echo(f"MISSING: {database} is listed no more by SHOW DATABASES")
    if status["databases"]:
        click.echo()
        rows = [_row(one, now, status["attempts"]) for one in status["databases"]]
        printing.table(["SET/DATABASE", "LAST SUCCESS", "CHAIN", "ARTIFACTS", "SIZE", "OWED", "LAST FAILURE"], rows)
    if status["schedules"]:
        click.echo()
        rows = [
            [name, one["cron"], one["timezone"], one["type"], one["next_runs"][0] if one["next_runs"] else "suspended"]
            for name, one in status["schedules"].items()
        ]
        printing.table(["SCHEDULE", "CRON", "TIMEZONE", "TYPE", "NEXT RUN"], rows)
    for name, one in status["destinations"].items():
        state = {True: "up", False: f"DOWN: {one.get('error')}", None: "not tried yet"}[one.get("up")]
        click.echo(f"destination {name}: {state}, {one['owed']} copies owed")


def _row(one: dict[str, Any], now: datetime, attempts: dict[str, Any]) -> list[str]:
    last = max(_moment(text) for text in one["last_success"].values())
    attempt = attempts.get(f"{one['set']}/{one['database']}", {})
    return [
        f"{one['set']}/{one['database']}",
        f"{printing.age(now - last)} ago",
        f"{one['chain_links']} links",
        str(one["artifacts"]),
        printing.size(one["size"]),
        ", ".join(f"{name} {count}" for name, count in one["owed"].items() if count) or "-",
        f"{attempt['reason']} {attempt['failed_at'][:19]}Z" if attempt.get("failed_at") else "-",
    ]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
