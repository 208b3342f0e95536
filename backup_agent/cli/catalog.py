"""`backup-agent catalog`: rebuild an index, show drift, adopt artifacts of other tools."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from backup_agent import durable
from backup_agent.catalog import claim, root_lock
from backup_agent.catalog.adopt import Adopting, AdoptOutcome, Result
from backup_agent.catalog.diff import diff
from backup_agent.catalog.place import Place, place_of
from backup_agent.catalog.rebuild import rebuild
from backup_agent.cli import printing
from backup_agent.cli.configured import json_option, judged, loaded, settings_option
from backup_agent.core.artifacts.names import VOLUME, SetName, name_of_set
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.settings.model import Settings
from backup_agent.supervisor import mounts

_OPTIONS = {"rebuild": {"place"}, "diff": {"place", "checksums"}, "adopt": {"source", "set_name", "dry_run"}}


@click.command()
@click.argument("what", type=click.Choice(list(_OPTIONS)))
@click.option("--place", help="rebuild, diff: `local` or a destination. Default: local.")
@click.option("--checksums", is_flag=True, help="diff: also read every artifact and compare its checksum.")
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="adopt: a folder to search. Default: the storage root.",
)
@click.option("--set", "set_name", callback=judged(name_of_set), help="adopt: the set to put all artifacts into.")
@click.option("--dry-run", is_flag=True, help="adopt: list what would be adopted, and change nothing.")
@settings_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    what: str,
    place: str | None,
    source: Path | None,
    set_name: SetName | None,
    *,
    checksums: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Rebuild the index of a place, show drift there (diff), or take in artifacts that other tools made (adopt).

    The index is a cache of the records. diff repairs nothing, and exits 3 if records and files do not match. adopt
    reads each artifact to its end, and never moves, changes or overwrites a file. It needs the storage root for itself,
    so it refuses with exit code 4 while the agent runs.
    """
    given = {name for name, value in (("place", place), ("checksums", checksums), ("source", source)) if value}
    given |= {name for name, value in (("set_name", set_name), ("dry_run", dry_run)) if value}
    if wrong := given - _OPTIONS[what]:
        names = {"source": "from", "set_name": "set", "dry_run": "dry-run"}
        raise click.UsageError(f"catalog {what} takes no --{names.get(one := min(wrong), one)}", context)
    settings = loaded(context).settings
    if what == "rebuild":
        return _rebuild(place_of(place or VOLUME, settings), as_json=as_json)
    if what == "diff":
        return _diff(place_of(place or VOLUME, settings), checksums=checksums, as_json=as_json)
    return _adopt(settings, source, set_name, dry_run=dry_run, as_json=as_json)


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
    faults = [str(fault) for fault in rebuilt.unreadable]
    if as_json:
        counts = {"artifacts": rebuilt.artifacts, "noted": rebuilt.noted, "unreadable": faults}
        printing.as_json({"place": place.name, **counts, "index": str(index)})
    else:
        printing.line(f"{place.name}: {printing.counted(rebuilt.artifacts, 'artifact', 'artifacts')} in {index}")
        for key in rebuilt.noted:
            printing.line(f"already stored, no copy missing: {key}")
        for fault in faults:
            printing.line(f"unreadable: {fault}", err=True)
    return 3 if faults else 0


def _diff(place: Place, *, checksums: bool, as_json: bool) -> int:
    found = list(diff(place, checksums=checksums))
    if as_json:
        printing.as_json({"place": place.name, "findings": [one._asdict() for one in found]})
    elif found:
        printing.table(
            ["FINDING", "WHERE", "WHAT"], [[one.kind.value.replace("_", " "), one.key, one.text] for one in found]
        )
    else:
        read = "every record and every checksum" if checksums else "every record and every size"
        printing.line(f"{place.name}: {read} matches the files")
    return 3 if found else 0


@durable.closed_to_others()
def _adopt(settings: Settings, source: Path | None, set_name: SetName | None, *, dry_run: bool, as_json: bool) -> int:
    source = source and source.resolve()
    adopting = Adopting(settings, datetime.now(UTC), source, set_name, dry_run=dry_run)
    results: list[Result] = []
    with _owned(settings, dry_run=dry_run):
        for one in adopting.run():
            results.append(one)
            if not as_json:
                printing.line(": ".join(filter(None, (one.became.value, _named(one), one.why))))
    if as_json:
        printing.as_json({"artifacts": [{**one._asdict(), "path": str(one.path)} for one in results]})
    elif not results:
        printing.line(f"no artifact without a record was found below {source or settings.storage.root}")
    return 3 if any(one.became is AdoptOutcome.REFUSED for one in results) else 0


def _named(one: Result) -> str:
    return f"{one.path}" + (f" as {one.key}" if one.key and not str(one.path).endswith(f"/{one.key}") else "")


@contextmanager
def _owned(settings: Settings, *, dry_run: bool) -> Iterator[None]:
    """Hold the lock of the storage root.

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
        volume = claim.check_volume(root, settings.cluster, namespace=os.environ.get(claim.NAMESPACE) or None)
        if volume.foreign is not None:
            raise PermanentError(volume.foreign.reason, volume.foreign.error, volume.foreign.hint)
        yield
    finally:
        os.close(lock)
