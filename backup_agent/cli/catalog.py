"""`backup-agent catalog`: rebuild an index, show drift, adopt artifacts of other tools, accept records."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from backup_agent import durable
from backup_agent.catalog import mounts, owner_file, root_lock
from backup_agent.catalog.acceptance import accept, chosen, files_of, unrecognised
from backup_agent.catalog.adopt import Adopting, AdoptOutcome, Result
from backup_agent.catalog.contents import Unrecognised
from backup_agent.catalog.diff import confirmed_drift
from backup_agent.catalog.place import Place, place_of
from backup_agent.catalog.place_ownership import hold_place
from backup_agent.catalog.rebuild import rebuild
from backup_agent.catalog.recognised import read_record
from backup_agent.catalog.signatures import signed_before_revocation
from backup_agent.catalog.tenure import Held
from backup_agent.cli import printing
from backup_agent.cli.audit_trail import trail_at
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, FAILED, REFUSED, WARNED, DocumentedCommand, DocumentedGroup
from backup_agent.cli.options import checked_name, json_option, place_option, settings_option
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.names import SetName, name_of_set
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.audit.lines import AuditKind, AuditLine
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.jobs.prune import Concluding, Deleted, announce, delete
from backup_agent.settings.model import Settings

HOLD_SECONDS = 90.0
"""How long to wait for the agent's own process at a destination. If it has no work, it ends after a minute."""


@click.group(cls=DocumentedGroup)
def command() -> None:
    """Compare records with files, and adopt artifacts of other tools."""


@command.command(
    "rebuild",
    cls=DocumentedCommand,
    examples=("backup-agent catalog rebuild --place offsite",),
    exits={
        DONE: "rebuilt",
        FAILED: "the place cannot be read, or the index cannot be written",
        WARNED: "a record cannot be read or is not recognised",
    },
)
@place_option
@settings_option
@json_option
@click.pass_context
def rebuild_command(context: click.Context, place: str, *, as_json: bool) -> int:
    """Rebuild the index of a place from its records, and note the copies that a destination has.

    The index is a cache of the records.
    """
    return _rebuild(place_of(place, loaded(context).settings), as_json=as_json)


@command.command(
    "diff",
    cls=DocumentedCommand,
    examples=("backup-agent catalog diff --checksums",),
    exits={DONE: "records and files match", FAILED: "the place cannot be read", WARNED: "something does not match"},
)
@place_option
@click.option("--checksums", is_flag=True, help="Also read every artifact and compare its checksum.")
@settings_option
@json_option
@click.pass_context
def diff_command(context: click.Context, place: str, *, checksums: bool, as_json: bool) -> int:
    """Show where records and files of a place do not match. Repairs nothing."""
    return _diff(place_of(place, loaded(context).settings), checksums=checksums, as_json=as_json)


@command.command(
    "adopt",
    cls=DocumentedCommand,
    examples=("backup-agent catalog adopt --from /old-backups --dry-run",),
    exits={
        DONE: "adopted, or nothing to adopt",
        FAILED: "there is no such folder",
        WARNED: "an artifact was refused",
        REFUSED: "an agent runs at the storage root, or the root belongs to another agent",
    },
)
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder to search. Default: the storage root.",
)
@click.option(
    "--set", "set_name", metavar="SET", callback=checked_name(name_of_set), help="The set to put all artifacts into."
)
@click.option("--dry-run", is_flag=True, help="List what would be adopted, and change nothing.")
@settings_option
@json_option
@click.pass_context
def adopt_command(
    context: click.Context, source: Path | None, set_name: SetName | None, *, dry_run: bool, as_json: bool
) -> int:
    """Adopt artifacts that other tools made, after reading each to its end.

    Never moves, changes or overwrites a file. The agent must not run, because only one process can use the storage
    root.
    """
    return _adopt(loaded(context).settings, source, set_name, dry_run=dry_run, as_json=as_json)


@command.command(
    "unrecognised",
    cls=DocumentedCommand,
    examples=("backup-agent catalog unrecognised --place offsite",),
    exits={
        DONE: "every record is recognised",
        FAILED: "the place cannot be read",
        WARNED: "records are not recognised",
    },
)
@place_option
@settings_option
@json_option
@click.pass_context
def unrecognised_command(context: click.Context, place: str, *, as_json: bool) -> int:
    """List the records that the agent neither wrote nor accepted."""
    at = place_of(place, loaded(context).settings)
    found = list(unrecognised(at))
    if as_json:
        printing.as_json({"place": at.name, "unrecognised": [_facts(one) for one in found]})
    elif found:
        printing.table(
            ["ARTIFACT", "TYPE", "SIZE", "TAKEN", "PARENT", "FAULT"], [_row(one) for one in found], wide=True
        )
    else:
        printing.line(f"{at.name}: every record is recognised")
    return 3 if found else 0


@command.command(
    "accept",
    cls=DocumentedCommand,
    examples=(
        "backup-agent catalog accept --place offsite --all",
        "backup-agent catalog accept --place offsite --discard default/orders/orders-2026-11-23T02-00-00.backup",
    ),
    exits={
        DONE: "accepted or discarded",
        FAILED: "no such record, or not confirmed",
        WARNED: "a record was refused or kept",
        REFUSED: "with --discard: an agent runs at the storage root",
    },
)
@click.argument("keys", nargs=-1, metavar="[ARTIFACT]...")
@place_option
@click.option("--all", "everything", is_flag=True, help="Every unrecognised record of the place.")
@click.option(
    "--signed", is_flag=True, help="Every record that finished before the revocation of the key that signed it."
)
@click.option("--discard", is_flag=True, help="Delete the records and their files instead of accepting them.")
@click.option("--held", "also_held", is_flag=True, help="With --discard: also records with a hold.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@settings_option
@json_option
@click.pass_context
def accept_command(
    context: click.Context,
    keys: tuple[str, ...],
    place: str,
    *,
    everything: bool,
    signed: bool,
    discard: bool,
    also_held: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Accept unrecognised records: the agent recognises them from now on.

    Name the artifacts, or use --all or --signed. Nothing is moved or copied. From the next pass on, retention applies
    to the artifacts. First look at the records with `backup-agent catalog unrecognised`: the agent cannot distinguish a
    forged record from a genuine one.
    """
    if [bool(keys), everything, signed].count(True) != 1 or (signed and discard):
        raise click.UsageError("name artifacts by their keys, or give --all, or --signed", context)
    if also_held and not discard:
        raise click.UsageError("--held needs --discard", context)
    settings = loaded(context).settings
    at = place_of(place, settings)
    if signed:
        return _accept(at, signed_before_revocation(at), as_json=as_json)
    found = list(unrecognised(at))
    wanted = tuple(one.artifact for one in found) if everything else chosen(found, keys)
    if discard:
        return _discard(at, wanted, also_held=also_held, yes=yes, as_json=as_json)
    return _accept(at, wanted, as_json=as_json)


def _facts(one: Unrecognised) -> dict[str, Any]:
    entry = one.entry
    facts = {} if entry is None else {"type": _type(entry), "size": entry.size, "taken": entry.taken.isoformat()}
    return {"artifact": one.artifact, **facts, "parent": entry and entry.parent, "fault": one.fault}


def _row(one: Unrecognised) -> list[str]:
    entry = one.entry
    if entry is None:
        return [one.artifact, "-", "-", "-", "-", one.fault or "-"]
    return [
        one.artifact,
        _type(entry),
        printing.size(entry.size),
        printing.moment(entry.taken),
        entry.parent or "-",
        one.fault or "-",
    ]


def _type(entry: Entry) -> str:
    return BackupType.FULL.value if entry.full else BackupType.DIFF.value


@durable.closed_to_others()
def _accept(place: Place, keys: tuple[str, ...], *, as_json: bool) -> int:
    refused: dict[str, str] = {}
    trail = trail_at(place)
    for key in keys:
        try:
            accept(place, key)
            digest = place.record_notes.digest(key)
            trail.tell(AuditLine(kind=AuditKind.ACCEPTED, place=place.name, key=key, digest=digest))
        except PermanentError as error:
            refused[key] = error.failure.error
    accepted = [key for key in keys if key not in refused]
    if as_json:
        printing.as_json({"place": place.name, "accepted": accepted, "refused": refused})
    else:
        for key in accepted:
            printing.line(f"accepted: {key}")
        for fault in refused.values():
            printing.line(f"refused: {fault}", err=True)
        if not keys:
            printing.line(f"{place.name}: every record is recognised")
    return 3 if refused else 0


@durable.closed_to_others()
def _discard(place: Place, keys: tuple[str, ...], *, also_held: bool, yes: bool, as_json: bool) -> int:
    """Delete unrecognised records with their files, after confirmation unless `yes`.

    A record that was noted since it was listed is kept: it is a copy that the agent had not confirmed yet.
    """
    if keys and not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nothing was deleted, because there is no terminal to confirm at: add --yes")
        printing.lines(keys)
        if not printing.confirm(f"Delete these records and their files at {place.name}?"):
            printing.line("nothing was deleted", err=True)
            return 1
    locked = _root_locked(place.settings, dry_run=False) if place.is_volume else nullcontext()
    with locked, hold_place(place, wait=HOLD_SECONDS) as held:
        if held.no_deletion is not None:
            raise PermanentError.of(held.no_deletion)
        recognised = [key for key in keys if _is_recognised(place, key)]
        for key in set(keys).difference(recognised):
            if place.record_notes.has(key):  # the note was written for a key that is revoked now
                place.record_notes.strike(key)
        going = [key for key in keys if key not in recognised]
        deleted = _delete(place, held, going, also_held=also_held)
    discarded = [key for key, outcome in deleted.items() if outcome is not Deleted.NOT]
    kept = [key for key in deleted if key not in discarded]
    if as_json:
        printing.as_json({"place": place.name, "discarded": discarded, "held": kept, "recognised": recognised})
    else:
        for key in discarded:
            printing.line(f"discarded: {key}")
        for key in kept:
            printing.line(f"held, and kept: {key}", err=True)
        for key in recognised:
            printing.line(f"recognised by now, and kept: {key}", err=True)
        if kept:
            printing.line("HINT: --held discards records with a hold as well", err=True)
    return 3 if kept or recognised else 0


def _delete(place: Place, held: Held, keys: list[str], *, also_held: bool) -> dict[str, Deleted]:
    trail = trail_at(place)
    why = "discarded: its record is not recognised"
    announce(place, held, trail, dict.fromkeys(keys, why))
    deleted = {}
    for key in keys:
        with Concluding(place, trail) as concluding:
            deleted[key] = delete(place, held, key, files_of(place, key), also_held=also_held)
            if deleted[key] is not Deleted.NOT:
                concluding.add(key, deleted[key], why=why)
    return deleted


def _is_recognised(place: Place, key: str) -> bool:
    """Return whether the record of an artifact was noted since it was listed, and the note counts."""
    if not place.record_notes.has(key):
        return False
    try:
        read_record(place, key)
    except PermanentError as error:
        return error.failure.reason is not Reason.UNRECOGNISED
    return True


@durable.closed_to_others()
def _rebuild(place: Place, *, as_json: bool) -> int:
    index = place.index
    try:
        rebuilt = rebuild(place)
    except OSError as error:
        what = "the index" if error.filename in (None, str(index)) else str(error.filename)
        raise PermanentError(
            Reason.DISK_FULL if durable.is_full(error) else Reason.STORAGE_UNREACHABLE,
            f"{index}: not rebuilt: {what} cannot be written: {error.strerror}",
            "make room on the volume, or run this as a user who may write there; the records are intact",
        ) from error
    if rebuilt.noted:
        trail_at(place).tell(
            *(
                AuditLine(
                    kind=AuditKind.ACCEPTED,
                    place=place.name,
                    key=key,
                    digest=place.record_notes.digest(key),
                    why="a complete copy was found",
                )
                for key in rebuilt.noted
            )
        )
    faults = [str(fault) for fault in rebuilt.unreadable]
    if as_json:
        counts = {"artifacts": rebuilt.artifacts, "noted": rebuilt.noted, "unreadable": faults}
        printing.as_json({"place": place.name, **counts, "unrecognised": rebuilt.unrecognised, "index": str(index)})
    else:
        printing.prose((f"{place.name}: {printing.counted(rebuilt.artifacts, 'artifact', 'artifacts')} in {index}",))
        printing.prose(f"copy found, no longer counted as missing: {key}" for key in rebuilt.noted)
        printing.prose((f"unreadable: {fault}" for fault in faults), err=True)
        if rebuilt.unrecognised:
            number = printing.counted(rebuilt.unrecognised, "record", "records")
            printing.prose((f"not recognised: {number}; `backup-agent catalog unrecognised` lists them",), err=True)
    return 3 if faults or rebuilt.unrecognised else 0


def _diff(place: Place, *, checksums: bool, as_json: bool) -> int:
    found = confirmed_drift(place, checksums=checksums)
    if as_json:
        printing.as_json({"place": place.name, "findings": [one._asdict() for one in found]})
    elif found:
        printing.prose(f"{one.kind.value.replace('_', ' ')}: {one.key}: {one.text}" for one in found)
    else:
        read = "every record and every checksum" if checksums else "every record and every size"
        printing.line(f"{place.name}: {read} matches the files")
    return 3 if found else 0


@durable.closed_to_others()
def _adopt(settings: Settings, source: Path | None, set_name: SetName | None, *, dry_run: bool, as_json: bool) -> int:
    source = source and source.resolve()
    adopting = Adopting(settings, datetime.now(UTC), source, set_name, dry_run=dry_run)
    results: list[Result] = []
    with _root_locked(settings, dry_run=dry_run):
        for one in adopting.run():
            results.append(one)
            if not as_json:
                printing.line(": ".join(filter(None, (one.became.value, _named(one), one.why))))
    if adopting.keyring.fault is not None:
        printing.line(f"the records are not signed: {adopting.keyring.fault}", err=True)
    if as_json:
        printing.as_json({"artifacts": [{**one._asdict(), "path": str(one.path)} for one in results]})
    elif not results:
        printing.line(f"no artifact without a record was found below {source or settings.storage.root}")
    return 3 if any(one.became is AdoptOutcome.REFUSED for one in results) else 0


def _named(one: Result) -> str:
    return f"{one.path}" + (f" as {one.key}" if one.key and not str(one.path).endswith(f"/{one.key}") else "")


@contextmanager
def _root_locked(settings: Settings, *, dry_run: bool) -> Iterator[None]:
    """Hold the lock of the storage root during the block; a dry run takes no lock.

    Raise PermanentError if an agent runs there, if the root belongs to another agent, or if the root does not exist.
    """
    root = settings.storage.root
    if not root.is_dir():
        raise PermanentError(
            Reason.NOT_FOUND, f"{root}: there is no such folder", "run this where the volume is, or set storage.root"
        )
    if dry_run:
        yield
        return
    mounts.check_volume_mounted(root, settings.storage.require_volume, os.environ)
    lock = root_lock.own(root)
    try:
        volume = owner_file.check_volume(root, settings.cluster, namespace=os.environ.get(owner_file.NAMESPACE) or None)
        if volume.foreign is not None:
            raise PermanentError(volume.foreign.reason, volume.foreign.error, volume.foreign.hint)
        yield
    finally:
        os.close(lock)
