"""`backup-agent list`."""

import click

from backup_agent.catalog import records
from backup_agent.catalog.copies import Notes
from backup_agent.cli import printing
from backup_agent.cli.configured import json_option, loaded, settings_option
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.records import Record


@click.command()
@click.option("--set", "set_name", help="One set alone.")
@click.option("--database", help="One database alone.")
@settings_option
@json_option
@click.pass_context
def command(context: click.Context, set_name: str | None, database: str | None, as_json: bool) -> int:
    """List the artifacts recorded on the volume, the oldest first, with their copies.

    Reads the records themselves: it works without the agent, and without Bolt.
    """
    settings = loaded(context).settings
    root = settings.storage.root
    if not root.is_dir():
        raise PermanentError(
            Reason.NOT_FOUND, f"{root}: there is no such folder", "run this where the volume is, or set storage.root"
        )
    notes = {name: Notes(root, name, one.identity) for name, one in settings.storage.destinations.items()}
    found: list[Record] = []
    faults: list[str] = []
    for folder in records.databases(root):
        if (set_name or folder[0]) == folder[0] and (database or folder[1]).lower() == folder[1]:
            recorded = records.of_database(root, *folder)
            found += recorded.records
            faults += recorded.unreadable
    if as_json:
        printing.as_json(
            {
                "artifacts": [
                    {**record.model_dump(mode="json", by_alias=True), "copies": _copies(record, notes)}
                    for record in found
                ],
                "unreadable": faults,
            }
        )
    else:
        of = "".join(f", {kind} {name}" for kind, name in (("set", set_name), ("database", database)) if name)
        _print(f"{root}{of}", found, notes)
        for fault in faults:
            click.echo(f"unreadable: {fault}", err=True)
    return 3 if faults else 0


def _copies(record: Record, notes: dict[str, Notes]) -> dict[str, str]:
    return {name: "stored" if note.has(record.key) else "not stored" for name, note in notes.items()}


def _print(place: str, found: list[Record], notes: dict[str, Notes]) -> None:
    if not found:
        click.echo(f"nothing is recorded below {place}")
        return
    head = ["ARTIFACT", "TYPE", "SIZE", "TAKEN", "TRANSACTIONS", "WHY", "COPIES"]
    rows = [
        [
            record.key,
            record.type.value,
            printing.size(record.size),
            printing.moment(record.header.taken),
            "none" if record.header.empty else f"{record.header.lowest}-{record.header.highest}",
            record.type_reason,
            ", ".join(name for name, state in _copies(record, notes).items() if state == "stored") or "-",
        ]
        for record in found
    ]
    printing.table(head, rows)
