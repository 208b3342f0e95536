"""`backup-agent adopt-root`."""

import os

import click

from backup_agent import durable
from backup_agent.catalog import claim
from backup_agent.catalog.place import Place, all_places, place_of
from backup_agent.catalog.place_ownership import adopt_place, standing_of, this_volume
from backup_agent.cli import printing
from backup_agent.cli.configured import json_option, loaded, settings_option
from backup_agent.core.ownership.owner import Ownership
from backup_agent.supervisor import mounts

REFUSED = 4

_SAID = {
    Ownership.VACANT: "of no agent yet: becomes ours with the first copy",
    Ownership.OURS: "ours",
    Ownership.LOST: "this cluster's, of another volume: copies continue, nothing is deleted without --yes",
    Ownership.FOREIGN: "another agent's",
}


@click.command()
@click.option("--place", help="`local` (the volume) or one destination; else all.")
@click.option("--yes", is_flag=True, help="Do it. Without it the command only shows whose each place is.")
@settings_option
@json_option
@click.pass_context
def command(context: click.Context, place: str | None, yes: bool, as_json: bool) -> int:
    """Take over places that belong to another agent, whose owner.json says so, if that agent is gone for good.

    The former owner publishes and deletes nothing there from then on. A volume that is taken over gets a new id.
    A destination of the same cluster whose volume was lost gets copies without this command, but nothing is deleted
    there before it. Exits 4 if there is something to take over and --yes is not given.
    """
    settings = loaded(context).settings
    mounts.check_volume_mounted(settings.storage.root, settings.storage.require_volume, os.environ)
    places = (place_of(place, settings),) if place else all_places(settings)
    told = [_look(one, yes=yes) for one in places]
    if as_json:
        printing.as_json({"places": told})
    else:
        rows = [[one["place"], one["owner"] or "-", "adopted" if one["adopted"] else one["said"]] for one in told]
        printing.table(["PLACE", "OWNER", "THIS AGENT'S?"], [[str(cell) for cell in row] for row in rows])
    wanting = [one for one in told if one["standing"] in (Ownership.FOREIGN, Ownership.LOST) and not one["adopted"]]
    if wanting and not as_json:
        printing.line("nothing was changed: add --yes to take over what belongs to another agent", err=True)
    return REFUSED if wanting else 0


@durable.closed_to_others()
def _look(place: Place, *, yes: bool) -> dict[str, object]:
    """Return the ownership of a place, after taking it over if `yes`."""
    volume = this_volume(place.settings)
    if place.is_volume and volume.foreign is not None:
        ownership, found = Ownership.FOREIGN, claim.look(place.store)
    else:
        ownership, found = standing_of(place, volume)
    adopted = yes and ownership in (Ownership.FOREIGN, Ownership.LOST)
    if adopted:
        # A new id for the volume: a clone would otherwise keep the original's id.
        ours = volume.ours.model_copy(update={"id": claim.new_id()}) if place.is_volume else volume.ours
        adopt_place(place, ours)
    facts = {"standing": ownership.value, "said": _SAID[ownership], "adopted": adopted}
    return {"place": place.name, "owner": str(found.owner) if found.owner else found.fault or None, **facts}
