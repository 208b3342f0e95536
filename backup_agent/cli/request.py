"""`backup-agent request`."""

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from backup_agent import durable
from backup_agent.cli import printing
from backup_agent.cli.configured import json_option, loaded, settings_option
from backup_agent.core.answers import Answer, State
from backup_agent.core.requests import Action, InvalidRequestError, parse
from backup_agent.settings.model import Settings

EXIT = {
    State.SUCCEEDED: 0,
    State.SUCCEEDED_WITH_WARNINGS: 3,
    State.FAILED: 1,
    State.CANCELLED: 1,
    State.REJECTED: 4,
}
POLL_SECONDS = 0.2


@click.command(short_help="Drop a request, and wait for its answer with --wait.")
@click.option("--action", type=click.Choice([action.value for action in Action]), default="backup", show_default=True)
@click.option("--type", "type_", type=click.Choice(["FULL", "DIFF", "AUTO"], case_sensitive=False))
@click.option("--database", "databases", multiple=True, help="A name or glob; repeat it for several.")
@click.option("--set", "path", help="The set; `default` where it is not given.")
@click.option("--id", "identity", help="Idempotency key; for --action cancel the request to end.")
@click.option("--reason", help="Kept in the record and the log.")
@click.option("--requested-by", default=lambda: os.environ.get("USER"), help="Kept in the record and the log.")
@click.option("--wait", is_flag=True, help="Wait for the answer, and exit by it.")
@click.option("--timeout", type=float, help="Seconds to wait at the most.")
@settings_option
@json_option
@click.pass_context
def command(  # noqa: PLR0917  a request's fields
    context: click.Context,
    action: str,
    type_: str | None,
    databases: tuple[str, ...],
    path: str | None,
    identity: str | None,
    reason: str | None,
    requested_by: str | None,
    wait: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Drop a request into the agent's folder, whole or not at all."""
    settings = loaded(context).settings
    fields = {
        "action": action,
        "type": type_,
        "databases": list(databases) or None,
        "path": path,
        "id": identity,
        "reason": reason,
        "requested_by": requested_by,
    }
    content = json.dumps({name: value for name, value in fields.items() if value is not None}).encode()
    try:
        parse(content, str(settings.storage.root))
    except InvalidRequestError as error:
        click.echo("\n".join(error.faults), err=True)
        return 2
    name = _name(settings, identity if action == Action.BACKUP.value else None)
    durable.write(settings.requests / f"{name}.request", content + b"\n")
    answer = settings.requests / f"{name}.status.json"
    if not wait:
        if as_json:
            printing.as_json({"request": str(settings.requests / f"{name}.request"), "answer": str(answer)})
        else:
            click.echo(f"dropped {name}.request; the answer will be in {answer}")
        return 0
    return _wait(answer, timeout, as_json=as_json)


def _name(settings: Settings, identity: str | None) -> str:
    """Return a file name that no other request has."""
    name = identity or f"cli-{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{os.getpid()}"
    (settings.requests / f"{name}.status.json").unlink(missing_ok=True)
    return name


def _wait(path: Path, timeout: float | None, *, as_json: bool) -> int:
    until = None if timeout is None else time.monotonic() + timeout
    shown = _Shown(live=not as_json and sys.stderr.isatty(), quiet=as_json)
    while True:
        answer = _read(path)
        if answer is not None:
            shown.show(answer)
            if answer.state.final:
                break
        if until is not None and time.monotonic() >= until:
            click.echo(f"no last answer after {timeout:g} s; it will be in {path}", err=True)
            return 1
        time.sleep(POLL_SECONDS)
    shown.end()
    if as_json:
        printing.as_json(answer.model_dump(mode="json", by_alias=True, exclude_none=True))
    else:
        _print(answer)
    return EXIT[answer.state]


def _read(path: Path) -> Answer | None:
    try:
        return Answer.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None


class _Shown:
    """What has been said of an answer: one line that changes on a terminal, a line a change elsewhere."""

    def __init__(self, *, live: bool, quiet: bool) -> None:
        self._live = live
        self._quiet = quiet
        self._last = ""

    def show(self, answer: Answer) -> None:
        """Say where the request stands, if that is news."""
        progress: dict[str, Any] = answer.progress or {}
        words = [answer.id, answer.state.value]
        if answer.position:
            words.append(f"position {answer.position}")
        if answer.stage:
            words += [str(progress.get("database", "")), answer.stage]
        if self._live and "bytes" in progress:
            words.append(printing.size(progress["bytes"]))
        line = " ".join(word for word in words if word)
        if self._quiet or line == self._last:
            return
        self._last = line
        if self._live:
            click.echo(f"\r\x1b[K{line}", nl=False, err=True)
        else:
            click.echo(line, err=True)

    def end(self) -> None:
        """Leave the line."""
        if self._live and self._last:
            click.echo("\r\x1b[K", nl=False, err=True)


def _print(answer: Answer) -> None:
    click.echo(f"{answer.id}: {answer.state.value}" + (f" ({answer.reason.value})" if answer.reason else ""))
    for name, result in answer.databases.items():
        line = f"  {name}: {result.outcome.value}"
        if result.artifact:
            line += f" {result.type} {result.artifact} {printing.size(result.size or 0)}"
        if result.type_reason:
            line += f" ({result.type_reason})"
        click.echo(line)
    if answer.error:
        click.echo(answer.error)
    if answer.hint:
        click.echo(f"HINT: {answer.hint}")
