"""`backup-agent show`."""

import json
from collections.abc import Iterator
from dataclasses import asdict

import click

from backup_agent.catalog import records
from backup_agent.catalog.copies import Notes
from backup_agent.catalog.damages import sound
from backup_agent.cli import answers, printing
from backup_agent.cli.configured import json_option, loaded, settings_option
from backup_agent.core import restoring
from backup_agent.core.answers import Answer
from backup_agent.core.capabilities import Version
from backup_agent.core.chains import chains
from backup_agent.core.names import RECORD_SUFFIX
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.records import Record
from backup_agent.settings.model import Settings


@click.command()
@click.argument("what", metavar="ARTIFACT|REQUEST")
@click.option("--restore", is_flag=True, help="Print the lines that restore this artifact, by its version.")
@settings_option
@json_option
@click.pass_context
def command(context: click.Context, what: str, restore: bool, as_json: bool) -> int:
    """Show an artifact, by its key, path or file name; or the answer to a request, by its id.

    Reads the files themselves: it works without the agent, and without Bolt.
    """
    settings = loaded(context).settings
    record = _record(settings, what)
    if record is not None and restore:
        _show_restoring(settings, record, as_json=as_json)
        return 0
    if restore:
        raise PermanentError(Reason.NOT_FOUND, f"{what}: no artifact of that name is recorded on the volume")
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
    for folder in records.databases(root):
        recorded = records.of_database(root, *folder)
        found += [record for record in recorded.records if named in (record.key, record.files[0].name)]
        for fault in recorded.unreadable:
            if named in (key := fault.partition(RECORD_SUFFIX)[0], key.rsplit("/", 1)[1]):
                raise PermanentError(
                    Reason.CHECKSUM_MISMATCH, f"its record cannot be read: {fault}", "look at the volume's health"
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
            return Answer.model_validate_json((settings.requests / "answers" / f"{what}.json").read_bytes())
        except FileNotFoundError:
            if (settings.requests / f"{what}.request").exists():
                hint = "a request of that name lies there, but is not taken: is `backup-agent run` running here?"
        except ValueError as error:
            text = f"the answer to {what} cannot be read: {str(error).splitlines()[0]}"
            raise PermanentError(Reason.INTERNAL, text, f"see {settings.requests}/answers") from None
    raise PermanentError(Reason.NOT_FOUND, f"{what}: neither an artifact nor an answered request has that name", hint)


def _show_answer(answer: Answer) -> None:
    asked = answer.request if isinstance(answer.request, str) else json.dumps(answer.request, ensure_ascii=False)
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
    click.echo()
    click.echo("\n".join(answers.lines(answer, whole=True)))


def _show_record(settings: Settings, record: Record, *, as_json: bool) -> None:
    root = settings.storage.root
    copies = {
        name: "stored" if Notes(root, name, one.identity).has(record.key) else "not stored"
        for name, one in settings.storage.destinations.items()
    }
    siblings = records.of_database(root, record.set, record.database).records
    chain = next((chain for chain in chains(siblings) if record in chain.records), None)
    links = [link.key for link in chain.records] if chain else [record.key]
    if as_json:
        printing.as_json({**record.model_dump(mode="json", by_alias=True), "copies": copies, "chain": links})
    else:
        printing.facts(_facts(record, links, copies))


def _show_restoring(settings: Settings, record: Record, *, as_json: bool) -> None:
    """Print how the artifact is restored; raise PermanentError where a part of its chain is missing or damaged."""
    root = settings.storage.root
    good = sound(root, records.of_database(root, record.set, record.database).records)
    found = [chain for chain in chains(good) if record in (*chain.records, *chain.empty)]
    if not found:
        raise PermanentError(
            Reason.CHAIN_BROKEN,
            f"{record.key} cannot be restored from {root}: a part of its chain is missing or damaged there",
            "`backup-agent list` shows others; a destination may hold the whole chain",
        )
    members = min((chain.records for chain in found), key=len)
    # An empty differential holds nothing: the point is what it was taken after.
    upto = members.index(record) + 1 if record in members else len(members)
    seed = next(
        (
            f"s3://{one.bucket}/{one.prefix}/{settings.cluster}"
            if one.prefix
            else f"s3://{one.bucket}/{settings.cluster}"
            for name, one in settings.storage.destinations.items()
            if not Notes(root, name, one.identity).owed(members[:upto])
        ),
        None,
    )
    version = Version.parse(record.admin_version or record.server_version or "")
    steps = restoring.steps(members[:upto], root=str(root), seed=seed, version=version)
    if as_json:
        printing.as_json({"artifact": record.key, "steps": [asdict(step) for step in steps]})
        return
    click.echo(f"# {record.key}, as of {printing.moment(record.header.taken)}, Neo4j {version or 'unknown'}")
    for step in steps:
        where = "" if step.language == "sh" else "  [cypher-shell -d system]"
        click.echo("\n".join(("", f"# {step.title}{where}", *step.lines)))


def _facts(record: Record, links: list[str], copies: dict[str, str]) -> Iterator[tuple[str, str]]:
    header = record.header
    yield "artifact", record.key
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
