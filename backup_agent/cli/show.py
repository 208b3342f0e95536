"""`backup-agent show`."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace

import click

from backup_agent import durable, quoting
from backup_agent.catalog import volume_records
from backup_agent.catalog.contents import by_database, of_database
from backup_agent.catalog.place import Place, all_places, destinations, place_of
from backup_agent.cli import answers, printing, restore_lines
from backup_agent.cli.configured import json_option, loaded, settings_option
from backup_agent.core.artifacts.chains import Ancestry, chains
from backup_agent.core.artifacts.keys import RECORD_SUFFIX, is_key, name_of, record_key, split_key
from backup_agent.core.artifacts.records import LARGEST as LARGEST_RECORD
from backup_agent.core.artifacts.records import Record
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason
from backup_agent.core.requests.answers import LARGEST as LARGEST_ANSWER
from backup_agent.core.requests.answers import Answer
from backup_agent.settings.model import VOLUME, Settings
from backup_agent.stores.kind import kind_of
from backup_agent.stores.store import Store


@click.command()
@click.argument("what", metavar="ARTIFACT|REQUEST")
@click.option("--restore", is_flag=True, help="Print the lines that restore this artifact, by version.")
@click.option("--place", help="--restore: `local` or a destination; else the first that has all it needs.")
@click.option("--neo4j-version", help="--restore: that of the servers that restore; else that of the backup.")
@settings_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    what: str,
    restore: bool,
    place: str | None,
    neo4j_version: str | None,
    as_json: bool,
) -> int:
    """Show an artifact, by its key, path or file name; or the answer to a request, by its id.

    Reads the files themselves: it works without the agent, and without Bolt.
    """
    settings = loaded(context).settings
    if restore:
        _show_restoring(settings, what, place, neo4j_version, as_json=as_json)
        return 0
    if place or neo4j_version:
        raise click.UsageError("--place and --neo4j-version go with --restore")
    record = _record(settings, what)
    if record is not None:
        _show_record(settings, record, as_json=as_json)
        return 0
    answer = _answer(settings, what)
    if as_json:
        printing.as_json(answer.model_dump(mode="json", by_alias=True, exclude_none=True))
    else:
        _show_answer(answer)
    return 0


def _record(settings: Settings, what: str) -> Record | None:
    """Return the record of that key, path or name, or None; raise PermanentError where it is unreadable or several."""
    root = settings.storage.root
    named = what.removeprefix(f"{root}/").removesuffix(RECORD_SUFFIX)
    found: list[Record] = []
    for folder in volume_records.databases(root):
        recorded = volume_records.of_database(root, *folder)
        found += [record for record in recorded.records if named in (record.key, record.files[0].name)]
        for fault in recorded.unreadable:
            if named in (key := fault.partition(RECORD_SUFFIX)[0], name_of(key)):
                raise PermanentError(
                    Reason.UNREADABLE, f"its record cannot be read: {fault}", "look at the volume's health"
                )
    if len(found) > 1:
        keys = ", ".join(record.key for record in found)
        raise PermanentError(
            Reason.NOT_FOUND, f"{what}: several artifacts have that name: {keys}", "give the whole key"
        )
    return found[0] if found else None


def _answer(settings: Settings, what: str) -> Answer:
    """Return the answer to a request; raise PermanentError where there is none."""
    hint = ""
    if "/" not in what and not what.startswith("."):
        try:
            return Answer.from_json(durable.read(settings.requests / "answers" / f"{what}.json", LARGEST_ANSWER))
        except FileNotFoundError:
            if (settings.requests / f"{what}.request").exists():
                hint = "a request of that name lies there, but is not taken: is `backup-agent run` running here?"
        except ValueError as error:
            text = f"the answer to {what} cannot be read: {quoting.shown(error)}"
            raise PermanentError(Reason.INTERNAL, text, f"see {settings.requests}/answers") from None
    raise PermanentError(Reason.NOT_FOUND, f"{what}: neither an artifact nor an answered request has that name", hint)


def _show_answer(answer: Answer) -> None:
    asked = "rejected" if answer.request is None else json.dumps(answer.request, ensure_ascii=False)
    dropped = f"as {', '.join(answer.files)}" if answer.files else f"by schedule {answer.schedule}"
    pairs = [("request", asked), ("received", f"{printing.moment(answer.received)} {dropped}")]
    if answer.started:
        pairs.append(("started", printing.moment(answer.started)))
    if answer.finished:
        pairs.append(("finished", printing.moment(answer.finished)))
    else:
        pairs.append(("stands", f"{answers.stage(answer)} {answers.progress(answer)}"))
    if answer.set:
        pairs.append(("set", answer.set))
    printing.facts(pairs)
    printing.lines(("", *answers.lines(answer, whole=True)))


def _show_record(settings: Settings, record: Record, *, as_json: bool) -> None:
    volume = place_of(VOLUME, settings)
    copies = {one.name: "stored" if one.copy_notes.has(record.key) else "not stored" for one in destinations(settings)}
    siblings = volume_records.of_database(volume.root, record.set, record.database).records
    chain = next((chain for chain in chains(siblings) if record in chain.records), None)
    links = [link.key for link in chain.records] if chain else [record.key]
    standing = of_database(volume.store, volume.index, record.set, record.database)
    fault = standing.unrestorable.get(record.key)
    if as_json:
        told = {"copies": copies, "chain": links, "fault": fault}
        printing.as_json({**record.model_dump(mode="json", by_alias=True), **told})
    else:
        printing.facts(_facts(record, links, copies, fault))


def _show_restoring(
    settings: Settings, what: str, place: str | None, neo4j_version: str | None, *, as_json: bool
) -> None:
    """Print how an artifact is restored, from the first place that has all it needs; raise BackupError where none."""
    at, chain, record = _restorable(settings, what, place)
    version = restore_lines.version_of(record, neo4j_version)
    source = _source(at)
    found = restore_lines.steps(chain, source=source, seed=_seed(at, chain), version=version)
    if as_json:
        steps = [asdict(step) for step in found]
        printing.as_json({"artifact": record.key, "place": at.name, "version": str(version), "steps": steps})
    else:
        printing.block(restore_lines.script(record, found, source=source, version=version))


def _restorable(settings: Settings, what: str, place: str | None) -> tuple[Place, tuple[Record, ...], Record]:
    """Return the place, the chain from its full to the point, and the record; raise what is wrong at each place."""
    failures: list[Failure] = []
    for one in all_places(settings) if place is None else (place_of(place, settings),):
        try:
            return (one, *_chain_at(one, what))
        except BackupError as error:
            failures.append(error.failure)
    # Where it is recorded and cannot be had says more than where it is not.
    first = next((one for one in failures if one.reason is not Reason.NOT_FOUND), failures[0])
    raise PermanentError(first.reason, "\n".join(one.error for one in failures), first.advice)


def _chain_at(place: Place, what: str) -> tuple[tuple[Record, ...], Record]:
    """Return what a point needs at one place, in its order; raise BackupError where that is not all there, or sound."""
    store = place.store
    named = what.removeprefix(f"{place.root}/").removesuffix(RECORD_SUFFIX)
    sets = {split_key(named).set} if is_key(named) else None
    parts = by_database(store, place.index, sets=sets, writes=False)
    found = [(part, key) for part in parts for key in part.entries if named in (key, name_of(key))]
    if not found:
        raise PermanentError(
            Reason.NOT_FOUND,
            f"{place.name}: no artifact {what} is recorded there",
            "`backup-agent list` shows what is on the volume",
        )
    if len(found) > 1:
        keys = ", ".join(key for _, key in found)
        raise PermanentError(
            Reason.INVALID_REQUEST, f"{what}: several artifacts have that name: {keys}", "give the whole key"
        )
    ((part, key),) = found
    ancestry = Ancestry(part.entries.values(), part.unsound)
    # An empty differential holds nothing: the point is what it was taken after, and nothing that came later.
    entry = part.entries[key]
    point = ancestry.anchor(entry) if entry.empty else entry
    if key not in ancestry.roots or point is None:
        raise PermanentError(
            Reason.CHAIN_BROKEN,
            f"{place.name}: {key} cannot be restored from there: a part of its chain is missing or damaged",
            "`backup-agent list` shows others; `backup-agent verify --heal` fetches what another place has",
        )
    way = [point]
    while parents := ancestry.parents(way[0]):
        way.insert(0, parents[0])
    return tuple(_read(store, one.key) for one in way), _read(store, key)


def _read(store: Store, key: str) -> Record:
    try:
        return volume_records.parse(store.read(record_key(key), LARGEST_RECORD), key)
    except ValueError as error:
        text = f"{store.name}: {record_key(key)} cannot be read: {error}"
        raise PermanentError(Reason.UNREADABLE, text, "look at the health of that place") from None


def _source(place: Place) -> restore_lines.ChainSource:
    one = place.destination
    if one is None:
        return restore_lines.ChainSource(place.name, str(place.root))
    access = kind_of(one).restore_access(one, place.settings.cluster)
    return restore_lines.ChainSource(place.name, access.uri, access)


def _seed(place: Place, chain: tuple[Record, ...]) -> restore_lines.ChainSource | None:
    """Return a destination that has the whole chain, undamaged as far as is known there; None if there is none.

    `place` is where the chain was found. The volume's notes say where else to look. A destination that cannot be asked
    from here is the last choice, and says so.
    """
    if not place.is_volume:
        return _source(place)
    unasked: restore_lines.ChainSource | None = None
    for other in destinations(place.settings):
        if not all(other.copy_notes.has(record.key) for record in chain):
            continue
        try:
            _chain_at(other, chain[-1].key)
        except BackupError as error:
            if error.failure.reason not in (Reason.CHAIN_BROKEN, Reason.NOT_FOUND, Reason.UNREADABLE):
                unasked = unasked or replace(_source(other), unasked=True)
        else:
            return _source(other)
    return unasked


def _facts(record: Record, links: list[str], copies: dict[str, str], fault: str | None) -> Iterator[tuple[str, str]]:
    header = record.header
    yield "artifact", record.key
    if fault:
        yield "fault", f"no restore point on the volume: {fault}"
    yield "type", f"{record.type.value} ({record.type_reason})"
    yield "size", f"{printing.size(record.size)} ({record.size} bytes)"
    yield "taken", printing.moment(header.taken)
    yield "transactions", "none (empty differential)" if header.empty else f"{header.lowest}-{header.highest}"
    yield "database id", str(header.database_id)
    yield "store id", header.store_id
    yield "continues", record.parent or "nothing: it is a full"
    yield from _list("chain", links)
    yield "from", f"{record.source or 'unknown'}, server {record.server_version or 'unknown'}"
    yield "by", f"neo4j-admin {record.admin_version or 'unknown'} ({record.launch or 'unknown'})"
    yield "for", f"request {record.request}" + (f" of {record.requested_by}" if record.requested_by else "")
    if record.note:
        yield "because", record.note
    yield from _list("copies", [f"{name}: {state}" for name, state in copies.items()] or ["no destination"])
    yield from _list("sha256", [f"{file.sha256}  {file.name}" for file in record.files])
    yield from _list("warnings", list(record.warnings))


def _list(name: str, values: list[str]) -> Iterator[tuple[str, str]]:
    return zip([name, *[""] * len(values)], values, strict=False)
