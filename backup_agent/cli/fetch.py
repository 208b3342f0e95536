"""`backup-agent fetch`."""

from collections.abc import Sequence
from pathlib import Path

import click

from backup_agent import durable
from backup_agent.catalog.place import Place
from backup_agent.cli import printing
from backup_agent.cli.audit_trail import tell_if_here
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, FAILED, WARNED, DocumentedCommand
from backup_agent.cli.options import json_option, settings_option
from backup_agent.cli.point import asked_point, point_options
from backup_agent.cli.restore import origin_code
from backup_agent.core.artifacts.names import SetName
from backup_agent.core.artifacts.records import Record
from backup_agent.core.audit.lines import AuditKind, AuditLine
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.restore.fetching import fetch_to_folder, fetch_to_stream, with_few_ranges
from backup_agent.restore.finding import FoundHeader, FoundPoint, find_header, find_point
from backup_agent.restore.metadata_script import metadata_script

STDOUT = "-"


@click.command(
    cls=DocumentedCommand,
    examples=(
        "backup-agent fetch orders --to /var/tmp/orders",
        "backup-agent fetch orders@latest --from offsite --to - > orders.tar",
        'backup-agent fetch orders --at "2026-11-28 02:30 Europe/Berlin" --to /var/tmp/orders',
    ),
    exits={
        DONE: "fetched",
        FAILED: "no such restore point, or bytes that differ from the record",
        WARNED: "fetched, but the agent does not recognise the records",
    },
)
@point_options
@click.option("--to", metavar="FOLDER|-", help="A folder, or `-` to write a tar to standard output.")
@click.option(
    "--metadata",
    metavar="FILE|-",
    help="Write only the script of users and roles, to a new file or standard output. It has password hashes.",
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
    to: str | None,
    metadata: str | None,
    as_json: bool,
) -> int:
    """Fetch the artifacts of a restore point.

    Fetches the whole chain with the agent's own credentials, and compares every byte with the records. It needs only
    the settings file and the place: neither the agent nor Bolt. After an interruption, the same command completes the
    folder. A tar ends with SHA256SUMS.
    """
    target = _target(to, metadata, as_json=as_json)
    asked, cut = asked_point(what, at, before_tx, history, set_name)
    settings = with_few_ranges(loaded(context).settings)
    if metadata is not None:
        header = find_header(settings, asked, cut, place=place)
        code = origin_code(proven=header.proven)
        _tell(header.place, (header.record.key,), target, metadata=True)
        _fetch_metadata(header, target, as_json=as_json)
    else:
        found = find_point(settings, asked, cut, place=place)
        code = origin_code(proven=found.proven)
        _tell(found.place, _keys(found.chain), target, metadata=False)
        _fetch_artifacts(found, target, as_json=as_json)
    return code


def _tell(place: Place, keys: Sequence[str], target: str, *, metadata: bool) -> None:
    """Write into the audit log that artifacts, or a metadata script, are about to leave the agent."""
    facts = {"to": target, "metadata": metadata}
    tell_if_here(place, AuditLine(kind=AuditKind.FETCHED, place=place.name, keys=tuple(keys), facts=facts))


def _target(to: str | None, metadata: str | None, *, as_json: bool) -> str:
    """Return where to write. Raise click.UsageError unless there is one target that can take it."""
    if to is None and metadata is None:
        raise click.UsageError("say where to write: --to FOLDER for the artifacts, or --metadata FILE for the script")
    if to is not None and metadata is not None:
        raise click.UsageError("--to and --metadata exclude each other")
    target, output, other = (
        (to, "the tar", "a folder with --to") if to is not None else (metadata, "the script", "a file")
    )
    if target == STDOUT and as_json:
        raise click.UsageError(f"--json and {output} exclude each other on standard output: give {other}")
    if target == STDOUT and printing.is_terminal():
        raise click.UsageError(f"standard output is a terminal: redirect it, or give {other}")
    return str(target)


def _fetch_artifacts(found: FoundPoint, target: str, *, as_json: bool) -> None:
    size = sum(record.size for record in found.chain)
    files = printing.counted(sum(len(record.files) for record in found.chain), "file", "files")
    printing.line(f"fetching {files}, {printing.size(size)}, from {found.place.name}", err=True)
    with printing.progress(size) as advance:
        if target == STDOUT:
            fetch_to_stream(found.place, found.chain, printing.stdout_for_bytes(), advance)
        else:
            fetch_to_folder(found.place, found.chain, Path(target), advance)
    if as_json:
        printing.as_json({"place": found.place.name, "folder": target, "artifacts": _keys(found.chain), "size": size})
    else:
        printing.lines((f"fetched {key}" for key in _keys(found.chain)), err=True)


def _fetch_metadata(found: FoundHeader, target: str, *, as_json: bool) -> None:
    """Write the metadata script of an artifact as it is, with its password hashes."""
    record = found.record
    if not found.has_chain:
        printing.line(f"{record.key} cannot be restored; only its header is read", err=True)
    script = metadata_script(found.place, record).encode()
    if target == STDOUT:
        printing.stdout_for_bytes().write(script)
    else:
        try:
            durable.create_secret(Path(target), script)
        except OSError as error:
            reason = Reason.ALREADY_EXISTS if isinstance(error, FileExistsError) else Reason.INVALID_REQUEST
            text = f"{target}: the script was not written: {error.strerror}"
            raise PermanentError(
                reason, text, "give the name of a new file in a folder that you may write to"
            ) from error
    if as_json:
        printing.as_json({"place": found.place.name, "file": target, "artifact": record.key, "size": len(script)})
    else:
        printing.line(f"fetched the metadata script of {record.key} from {found.place.name}", err=True)


def _keys(chain: Sequence[Record]) -> list[str]:
    return [record.key for record in chain]
