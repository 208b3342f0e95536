"""`backup-agent fetch`."""

from pathlib import Path

import click

from backup_agent.cli import printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.options import json_option, settings_option
from backup_agent.cli.point import asked_point, point_options
from backup_agent.cli.restore import NOT_PROVEN
from backup_agent.core.artifacts.names import SetName
from backup_agent.restore.fetching import fetch_to_folder, fetch_to_stream
from backup_agent.restore.finding import find_point

STDOUT = "-"


@click.command()
@point_options
@click.option(
    "--to", "target", required=True, metavar="FOLDER|-", help="A folder, or `-` to write a tar to standard output."
)
@settings_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    what: str,
    at: str | None,
    before_tx: int | None,
    place: str | None,
    history: str | None,
    set_name: SetName,
    target: str,
    as_json: bool,
) -> int:
    """Fetch the artifacts of a restore point.

    Fetches the whole chain with the agent's own credentials, and compares every byte with the records. It needs only
    the settings file and the place: neither the agent nor Bolt. A folder that an interrupted command has left is
    completed. A tar ends with SHA256SUMS. Exits 3 if the agent does not recognise the records.
    """
    if target == STDOUT and as_json:
        raise click.UsageError("--json and the tar exclude each other on standard output: give a folder with --to")
    if target == STDOUT and printing.is_terminal():
        raise click.UsageError("standard output is a terminal: redirect it, or give a folder with --to")
    asked, cut = asked_point(what, at, before_tx, history, set_name)
    found = find_point(loaded(context).settings, asked, cut, place=place)
    if not found.proven:
        printing.line("ORIGIN NOT PROVEN: this agent neither wrote nor accepted these records", err=True)
    size = sum(record.size for record in found.chain)
    files = printing.counted(sum(len(record.files) for record in found.chain), "file", "files")
    printing.line(f"fetching {files}, {printing.size(size)}, from {found.place.name}", err=True)
    with printing.progress(size) as advance:
        if target == STDOUT:
            fetch_to_stream(found.place, found.chain, printing.stdout_for_bytes(), advance)
        else:
            fetch_to_folder(found.place, found.chain, Path(target), advance)
    keys = [record.key for record in found.chain]
    if as_json:
        printing.as_json({"place": found.place.name, "folder": target, "artifacts": keys, "size": size})
    else:
        printing.lines((f"fetched {key}" for key in keys), err=True)
    return 0 if found.proven else NOT_PROVEN
