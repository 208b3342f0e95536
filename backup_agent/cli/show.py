"""`backup-agent show`."""

import json
from collections.abc import Iterator

import click

from backup_agent import durable, quoting
from backup_agent.catalog.contents import Contents
from backup_agent.catalog.place import place_of
from backup_agent.cli import answers, printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, FAILED, REFUSED, WARNED, DocumentedCommand
from backup_agent.cli.options import PLACE, json_option, settings_option, utc_option
from backup_agent.cli.proofs import Proof, proofs
from backup_agent.cli.proofs import facts as proof_facts
from backup_agent.cli.restore import origin_code, print_plan
from backup_agent.core.artifacts.chains import chains
from backup_agent.core.artifacts.names import VOLUME, PlaceName
from backup_agent.core.artifacts.records import Definition, Record
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.requests.answers import LARGEST as LARGEST_ANSWER
from backup_agent.core.requests.answers import Answer
from backup_agent.core.restore.asked import AskedArtifact, artifact_id
from backup_agent.core.restore.facts import Wanted
from backup_agent.core.restore.masking import masked
from backup_agent.restore.finding import Cut, find_artifact, find_header, read_any_record
from backup_agent.restore.metadata_script import metadata_script
from backup_agent.settings.model import Settings


@click.command(
    cls=DocumentedCommand,
    examples=(
        "backup-agent show default/orders/orders-2026-11-23T02-00-00.backup",
        "backup-agent show nightly@20261123T010000Z",
    ),
    exits={
        DONE: "shown",
        FAILED: "no such artifact or request",
        WARNED: "with --restore or --metadata: the agent does not recognise the record",
        REFUSED: "with --restore: not possible on these servers",
    },
)
@click.argument("what", metavar="ARTIFACT|REQUEST")
@click.option("--restore", is_flag=True, help="Print the plan that restores this artifact, as `restore` does.")
@click.option("--metadata", is_flag=True, help="Print the script of users and roles. Password hashes are masked.")
@click.option("--from", "place", metavar=PLACE, help="Place of the plan or script. Default: the first that has it.")
@settings_option
@utc_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    what: str,
    restore: bool,
    metadata: bool,
    place: str | None,
    as_json: bool,
) -> int:
    """Show one artifact, or the answer to one request.

    Finds an artifact by its key, path, file name or id, an answer by the id of its request. Reads the files themselves,
    so it needs neither the agent nor Bolt.
    """
    if restore and metadata:
        raise click.UsageError("--restore and --metadata exclude each other")
    if place is not None and not (restore or metadata):
        raise click.UsageError("--from goes with --restore or --metadata")
    settings = loaded(context).settings
    if metadata:
        return _show_metadata(settings, AskedArtifact(what), place, as_json=as_json)
    if restore:
        return print_plan(settings, AskedArtifact(what), Cut(), Wanted(), place, None, as_json=as_json)
    found = find_artifact(place_of(VOLUME, settings), AskedArtifact(what))
    if found is not None:
        _show_record(settings, *found, as_json=as_json)
        return 0
    answer = _answer(settings, what)
    if as_json:
        printing.as_json(answer.model_dump(mode="json", by_alias=True, exclude_none=True))
    else:
        _show_answer(answer)
    return 0


def _show_metadata(settings: Settings, asked: AskedArtifact, place: str | None, *, as_json: bool) -> int:
    """Print the metadata script of an artifact. Return the exit code."""
    found = find_header(settings, asked, Cut(), place=place)
    code, record = origin_code(proven=found.proven), found.record
    script = masked(metadata_script(found.place, record))
    if as_json:
        printing.as_json({"place": found.place.name, "artifact": record.key, "script": script})
    else:
        printing.block(script)
    return code


def _answer(settings: Settings, what: str) -> Answer:
    """Return the answer to a request. Raise PermanentError if the answer does not exist or cannot be read."""
    hint = ""
    if "/" not in what and not what.startswith("."):
        try:
            return Answer.from_json(durable.read(settings.requests.folder / "answers" / f"{what}.json", LARGEST_ANSWER))
        except FileNotFoundError:
            if (settings.requests.folder / f"{what}.request").exists():
                hint = "no agent has taken the request of that name yet: is `backup-agent run` running here?"
        except ValueError as error:
            text = f"the answer to {what} cannot be read: {quoting.shown(error)}"
            raise PermanentError(Reason.INTERNAL, text, f"see {settings.requests.folder}/answers") from None
    raise PermanentError(Reason.NOT_FOUND, f"{what}: neither an artifact nor an answered request has that name", hint)


def _show_answer(answer: Answer) -> None:
    content = "rejected" if answer.request is None else json.dumps(answer.request, ensure_ascii=False)
    dropped = f"as {', '.join(answer.files)}" if answer.files else f"by schedule {answer.schedule}"
    pairs = [("request", content), ("received", f"{printing.moment(answer.received)} {dropped}")]
    if answer.started:
        pairs.append(("started", printing.moment(answer.started)))
    if answer.finished:
        pairs.append(("finished", printing.moment(answer.finished)))
    else:
        pairs.append(("state", f"{answers.stage(answer)} {answers.progress(answer)}"))
    if answer.set:
        pairs.append(("set", answer.set))
    printing.facts(pairs)
    printing.prose(("", *answers.lines(answer, whole=True)))


def _show_record(settings: Settings, folder: Contents, key: str, *, as_json: bool) -> None:
    record = read_any_record(place_of(VOLUME, settings), key)
    known = proofs(settings, folder, key)
    copies = {one.place: "stored" if one.stored else "not stored" for one in known if one.place != VOLUME}
    links = [[link.key for link in chain.records] for chain in chains(folder.entries.values())]
    chain = next((keys for keys in links if key in keys), [key])
    fault = folder.fault(key)
    if as_json:
        document = record.model_dump(mode="json", by_alias=True)
        places = {one.place: one.to_json() for one in known}
        printing.as_json({**document, "copies": copies, "chain": chain, "places": places, "fault": fault})
    else:
        printing.facts(_facts(record, chain, copies, known, fault))


def _facts(
    record: Record, chain: list[str], copies: dict[PlaceName, str], known: tuple[Proof, ...], fault: str | None
) -> Iterator[tuple[str, str]]:
    header = record.header
    yield "artifact", record.key
    yield "id", artifact_id(record.key)
    if fault:
        yield "fault", f"cannot be restored from the volume: {fault}"
    yield from proof_facts(known)
    yield "type", f"{record.type.value} ({record.type_reason})"
    yield "size", f"{printing.size(record.size)} ({record.size} bytes)"
    yield "taken", printing.moment(header.taken)
    yield "append index", "none (empty differential)" if header.empty else f"{header.lowest}-{header.highest}"
    if record.last_committed_tx is not None:
        yield "committed", f"at least up to transaction {record.last_committed_tx}"
    if record.definition is not None:
        yield from _list("defined", list(_definition(record.definition)))
    yield "database id", str(header.database_id)
    yield "store id", header.store_id
    yield "continues", record.parent or "nothing: it is a full"
    yield from _list("chain", chain)
    yield "from", f"{record.source or 'unknown'}, server {record.server_version or 'unknown'}"
    yield "by", f"neo4j-admin {record.admin_version or 'unknown'} ({record.launch or 'unknown'})"
    yield "for", f"request {record.request}"
    for name, value in record.fields_given().items():
        pairs = [f"{key}={text}" for key, text in value.items()] if isinstance(value, dict) else [str(value)]
        yield from _list(name.replace("_", " "), pairs)
    yield from _list("copies", [f"{name}: {state}" for name, state in copies.items()] or ["no destination"])
    yield from _list("sha256", [f"{file.sha256}  {file.name}" for file in record.files])
    yield from _list("warnings", list(record.warnings))


def _definition(definition: Definition) -> Iterator[str]:
    """Yield one line for each known part of the definition."""
    for name, value in definition.model_dump(exclude_defaults=True).items():
        pairs = [f"{key}={one}" for key, one in value.items()] if isinstance(value, dict) else value
        yield f"{name.replace('_', ' ')}: {pairs if isinstance(pairs, str | int) else ', '.join(pairs)}"


def _list(name: str, values: list[str]) -> Iterator[tuple[str, str]]:
    return zip([name, *[""] * len(values)], values, strict=False)
