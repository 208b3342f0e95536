"""`backup-agent restore`."""

from dataclasses import replace
from datetime import UTC, datetime

import click

from backup_agent.cli import printing, restore_text
from backup_agent.cli.configured import loaded
from backup_agent.cli.options import checked_name, json_option, settings_option
from backup_agent.core.artifacts.names import DEFAULT_SET, SetName, name_of_set
from backup_agent.core.reasons import Failure
from backup_agent.core.restore.asked import AskedArtifact, parse_asked
from backup_agent.core.restore.facts import Wanted
from backup_agent.core.restore.moments import Moment, parse_moment
from backup_agent.core.restore.plan import plan
from backup_agent.core.restore.ways import Way
from backup_agent.restore.finding import Asked, Cut, find_point
from backup_agent.restore.gathering import known_servers, source_of
from backup_agent.settings.model import Settings

REFUSED, NOT_PROVEN = 4, 3


@click.command()
@click.argument("what", metavar="DATABASE|ARTIFACT")
@click.option("--at", metavar="TIME", help="Restore what was committed before this time, with its zone or UTC offset.")
@click.option("--before-tx", type=click.IntRange(min=1), metavar="N", help="Restore the transactions before this one.")
@click.option("--as", "name", metavar="NAME", help="Name of the restored database. Default: a free one, NAME-restored.")
@click.option("--replace", "replaces", is_flag=True, help="Replace the existing database, after a restore beside it.")
@click.option(
    "--from", "place", metavar="PLACE", help="`local` or a destination. Default: the first that has the point."
)
@click.option("--neo4j-version", help="Version of the servers. Default: the one last seen, else that of the backup.")
@click.option("--history", metavar="ID", help="An older history of a database that was replaced since.")
@click.option("--way", type=click.Choice([way.value for way in Way]), help="Another way than the one that fits best.")
@click.option(
    "--set",
    "set_name",
    callback=checked_name(name_of_set),
    default=DEFAULT_SET,
    show_default=True,
    help="The set with the artifacts of the database.",
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
    name: str | None,
    replaces: bool,
    place: str | None,
    neo4j_version: str | None,
    history: str | None,
    way: str | None,
    set_name: SetName,
    as_json: bool,
) -> int:
    """Print the plan of a restore.

    The plan names the artifacts, and has every line to enter, in order, with the place where it is entered. The command
    restores nothing, and needs neither the agent nor Bolt. Exits 3 if the agent does not recognise the records, and 4
    if this restore is not possible on these servers.
    """
    if replaces and name is not None:
        raise click.UsageError("--as and --replace exclude each other: --replace restores under the same name")
    asked = _asked(what, at, before_tx)
    if isinstance(asked, AskedArtifact) and history is not None:
        raise click.UsageError("--history goes with the name of a database: an artifact belongs to one history")
    wanted = Wanted(replace=replaces, name=name, way=Way(way) if way else None)
    cut = Cut(set=set_name, before_tx=before_tx, history=history)
    return print_plan(loaded(context).settings, asked, cut, wanted, place, neo4j_version, as_json=as_json)


def print_plan(
    settings: Settings,
    asked: Asked,
    cut: Cut,
    wanted: Wanted,
    place: str | None,
    neo4j_version: str | None,
    *,
    as_json: bool,
) -> int:
    """Print the plan of a restore. Return the exit code. Raise BackupError if no place has the restore point."""
    found = find_point(settings, asked, cut, place=place)
    source = source_of(found)
    made = plan(source, known_servers(settings, source.last, neo4j_version), wanted)
    if isinstance(made, Failure):
        printing.complaint(made.error, made.advice)
        return REFUSED
    if as_json:
        printing.as_json(restore_text.document(made))
    else:
        printing.block(restore_text.text(made))
    return 0 if found.proven else NOT_PROVEN


def _asked(what: str, at: str | None, before_tx: int | None) -> Asked:
    """Parse what is to be restored. Raise click.UsageError if it is not understood, or if it is in the future."""
    try:
        asked = parse_asked(what)
        moment = parse_moment(at) if at is not None else None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if isinstance(asked, AskedArtifact):
        if moment is not None or before_tx is not None:
            raise click.UsageError("--at and --before-tx go with the name of a database, not with an artifact")
        return asked
    if sum(one is not None for one in (moment, asked.moment, before_tx)) > 1:
        raise click.UsageError("give one of DATABASE@TIME, --at and --before-tx")
    return replace(asked, moment=_past(moment or asked.moment))


def _past(moment: Moment | None) -> Moment | None:
    if moment is not None and moment.at > datetime.now(UTC):
        raise click.UsageError(f"{moment} is in the future")
    return moment
