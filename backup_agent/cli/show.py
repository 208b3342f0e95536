"""`backup-agent show`."""

import click

from backup_agent.catalog import records
from backup_agent.catalog.copies import Notes
from backup_agent.cli import printing
from backup_agent.cli.configured import json_option, loaded, settings_option
from backup_agent.core.answers import Answer
from backup_agent.core.chains import chains
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.records import Record
from backup_agent.settings.model import Settings


@click.command(short_help="Show one artifact, or the answer to one request.")
@click.argument("what")
@settings_option
@json_option
@click.pass_context
def command(context: click.Context, what: str, as_json: bool) -> int:
    """Show an artifact by its key or file name, or the answer to a request by its id."""
    settings = loaded(context).settings
    record = _record(settings, what)
    if record is not None:
        _show_record(settings, record, as_json=as_json)
        return 0
    answer = _answer(settings, what)
    if answer is None:
        raise PermanentError(Reason.NOT_FOUND, f"{what}: neither an artifact nor a request of that name is known")
    if as_json:
        printing.as_json(answer.model_dump(mode="json", by_alias=True, exclude_none=True))
    else:
        click.echo(answer.to_json().decode(), nl=False)
    return 0


def _record(settings: Settings, what: str) -> Record | None:
    root = settings.storage.root
    for folder in records.databases(root):
        for record in records.of_database(root, *folder).records:
            if what in (record.key, record.files[0].name):
                return record
    return None


def _answer(settings: Settings, what: str) -> Answer | None:
    if "/" in what or what.startswith("."):
        return None
    try:
        return Answer.model_validate_json((settings.requests / "answers" / f"{what}.json").read_bytes())
    except FileNotFoundError:
        return None


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
        return
    header = record.header
    facts = {
        "artifact": record.key,
        "type": f"{record.type.value} ({record.type_reason})",
        "size": f"{printing.size(record.size)} ({record.size} bytes)",
        "taken": printing.moment(header.taken),
        "transactions": "none (empty differential)" if header.empty else f"{header.lowest}-{header.highest}",
        "database id": str(header.database_id),
        "store id": header.store_id,
        "continues": record.parent or "nothing: it is a full",
        "chain": " <- ".join(links),
        "from": f"{record.source or 'unknown'}, server {record.server_version or 'unknown'}",
        "by": f"neo4j-admin {record.admin_version or 'unknown'} ({record.launch or 'unknown'})",
        "for": f"request {record.request}" + (f", {record.requested_by}" if record.requested_by else ""),
        "copies": ", ".join(f"{name}: {state}" for name, state in copies.items()) or "no destination",
        **{f"sha256 {file.name}": file.sha256 for file in record.files},
        **{f"warning {number}": text for number, text in enumerate(record.warnings, start=1)},
    }
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        click.echo(f"{name.ljust(width)}  {value}")
