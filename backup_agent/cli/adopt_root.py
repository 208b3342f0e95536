"""`backup-agent adopt-root`."""

import os

import click

from backup_agent import durable
from backup_agent.catalog import mounts, owner_file
from backup_agent.catalog.place import Place, all_places, place_of
from backup_agent.catalog.place_ownership import adopt_place, ownership_at, this_volume
from backup_agent.cli import printing
from backup_agent.cli.audit_trail import trail_at
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, FAILED, REFUSED, DocumentedCommand
from backup_agent.cli.options import PLACE, json_option, settings_option
from backup_agent.core.audit.lines import AuditKind, AuditLine
from backup_agent.core.ownership.owner import Ownership
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.settings.permissions import forbidden

_DESCRIPTIONS = {
    Ownership.VACANT: "no owner yet: the first copy makes this agent the owner",
    Ownership.OURS: "yes",
    Ownership.LOST: "no, a lost volume of this cluster's: it gets copies, nothing is deleted until --yes takes it over",
    Ownership.FOREIGN: "no, another agent's",
}


@click.command(
    cls=DocumentedCommand,
    examples=("backup-agent adopt-root", "backup-agent adopt-root --yes --place offsite"),
    exits={
        DONE: "every place is this agent's, or has no owner yet",
        FAILED: "a place cannot be read, or the settings do not allow --yes",
        REFUSED: "there is something to take over, and --yes is not given",
    },
)
@click.option("--place", metavar=PLACE, help="`local` (the volume) or a destination. Default: every place.")
@click.option(
    "--yes", is_flag=True, help="Take over. Without this option the command only shows the owner of each place."
)
@settings_option
@json_option
@click.pass_context
def command(context: click.Context, place: str | None, yes: bool, as_json: bool) -> int:
    """Take over places that belong to another agent.

    Use it if the agent that owner.json names is gone for good. From then on, that agent publishes and deletes nothing
    there. A volume that is taken over gets a new id. If a cluster has lost its volume, its agent copies to the
    destination without this command, but deletes nothing there until the destination is taken over.
    """
    settings = loaded(context).settings
    if yes and not settings.requests.allow.adopt_root:
        raise PermanentError(Reason.INVALID_REQUEST, f"adopt-root --yes: {forbidden('adopt_root')}")
    mounts.check_volume_mounted(settings.storage.root, settings.storage.require_volume, os.environ)
    places = (place_of(place, settings),) if place else all_places(settings)
    found = [_look(one, yes=yes) for one in places]
    if as_json:
        printing.as_json({"places": found})
    else:
        rows = [
            [one["place"], one["owner"] or "-", "adopted" if one["adopted"] else one["description"]] for one in found
        ]
        printing.table(["PLACE", "OWNER", "THIS AGENT'S?"], [[str(cell) for cell in row] for row in rows], wraps=True)
    left = [one for one in found if one["ownership"] in (Ownership.FOREIGN, Ownership.LOST) and not one["adopted"]]
    if left and not as_json:
        printing.line("nothing was changed: add --yes to take over what belongs to another agent", err=True)
    return REFUSED if left else 0


@durable.closed_to_others()
def _look(place: Place, *, yes: bool) -> dict[str, object]:
    """Return the present owner of a place as JSON values. If `yes`, take over a place of another agent or volume."""
    volume = this_volume(place.settings)
    if place.is_volume and volume.foreign is not None:
        ownership, found = Ownership.FOREIGN, owner_file.look(place.store)
    else:
        ownership, found = ownership_at(place, volume)
    adopted = yes and ownership in (Ownership.FOREIGN, Ownership.LOST)
    if adopted:
        # The volume gets a new id: if it is a clone, it still has the id of the original.
        ours = volume.ours.model_copy(update={"id": owner_file.new_id()}) if place.is_volume else volume.ours
        adopt_place(place, ours)
        former = str(found.owner) if found.owner else None
        trail_at(place).tell(AuditLine(kind=AuditKind.TAKEN_OVER, place=place.name, facts={"former": former}))
    facts = {"ownership": ownership.value, "description": _DESCRIPTIONS[ownership], "adopted": adopted}
    return {"place": place.name, "owner": str(found.owner) if found.owner else found.fault or None, **facts}
