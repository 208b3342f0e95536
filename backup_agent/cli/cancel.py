"""`backup-agent cancel`."""

import os
from pathlib import Path

import click

from backup_agent.cli import printing
from backup_agent.cli.asking import waiting
from backup_agent.cli.configured import loaded
from backup_agent.cli.dropping import drop, wait_for
from backup_agent.cli.help import ANSWERED, DONE, FAILED, REFUSED, WARNED, DocumentedCommand
from backup_agent.core.json_reader import read_json
from backup_agent.core.requests.request import Action
from backup_agent.supervisor.requests.drop_folder import command_of, is_request_name, read_request


@click.command(
    cls=DocumentedCommand,
    examples=("backup-agent cancel nightly@20261123T010000Z", "backup-agent cancel x.request"),
    exits={
        DONE: "cancelled, or withdrawn",
        FAILED: "failed; no answer within --timeout",
        WARNED: ANSWERED[WARNED],
        REFUSED: ANSWERED[REFUSED],
    },
)
@click.argument("request")
@waiting
@click.pass_context
def command(
    context: click.Context,
    request: str,
    requested_by: str | None,
    not_after: str | None,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Cancel a request, or withdraw it while no agent has taken it.

    A queued request is never started, a running one is stopped. If no agent has taken the request file yet, the file is
    removed: this needs no running agent, and REQUEST may also be the name of the file.
    """
    settings = loaded(context).settings
    withdrawn = _withdraw(settings.requests.folder, request)
    if withdrawn and not (settings.requests.folder / "answers" / f"{request}.json").exists():
        if as_json:
            printing.as_json({"withdrawn": withdrawn})
        else:
            printing.lines(f"withdrawn: {name}; no agent had taken it" for name in withdrawn)
        return 0
    asked = {"action": Action.CANCEL, "id": request, "requested_by": requested_by, "not_after": not_after}
    return wait_for(drop(settings, asked), timeout, as_json=as_json, withdraws=True)


def _withdraw(folder: Path, request: str) -> list[str]:
    """Remove the files of a request that no agent has taken yet. Return their names."""
    waiting_files = sorted(entry.name for entry in os.scandir(folder) if is_request_name(entry.name))
    withdrawn: list[str] = []
    for name in waiting_files:
        try:
            if request in (name, command_of(name)) or _asks_as(folder / name, request):
                (folder / name).unlink()
                withdrawn.append(name)
        except FileNotFoundError:  # an agent has taken the file: ask that agent to cancel
            continue
    return withdrawn


def _asks_as(path: Path, request: str) -> bool:
    """Return whether a file is a request with the given id, and not a request to cancel."""
    try:
        content = read_json(read_request(path))
    except ValueError:  # includes InvalidRequestError
        return False
    return isinstance(content, dict) and content.get("id") == request and content.get("action") != Action.CANCEL
