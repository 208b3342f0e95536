"""`backup-agent restore`."""

import click

from backup_agent.cli import printing, restore_text
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, FAILED, REFUSED, WARNED, DocumentedCommand
from backup_agent.cli.options import json_option, settings_option
from backup_agent.cli.point import asked_point, point_options
from backup_agent.core.artifacts.names import SetName
from backup_agent.core.reasons import Failure
from backup_agent.core.restore.facts import Wanted
from backup_agent.core.restore.plan import plan
from backup_agent.core.restore.ways import Way
from backup_agent.restore.finding import Asked, Cut, find_point
from backup_agent.restore.gathering import known_servers, source_of
from backup_agent.settings.model import Settings


@click.command(
    cls=DocumentedCommand,
    examples=(
        "backup-agent restore orders",
        'backup-agent restore orders --at "2026-11-28 02:30 Europe/Berlin"',
        "backup-agent restore orders --replace",
        "backup-agent restore default/orders/orders-2026-11-23T02-00-00.backup --as orders-yesterday --from offsite",
    ),
    exits={
        DONE: "the plan is printed",
        FAILED: "no such restore point, or the place cannot be read",
        WARNED: "the plan is printed, but the agent does not recognise the records",
        REFUSED: "this restore is not possible on these servers",
    },
)
@point_options
@click.option("--as", "name", metavar="NAME", help="Name of the restored database. Default: a free one, NAME-restored.")
@click.option("--replace", "replaces", is_flag=True, help="Replace the existing database, after a restore beside it.")
@click.option(
    "--neo4j-version",
    metavar="VERSION",
    help="Version of the servers. Default: the one last seen, else that of the backup.",
)
@click.option("--way", type=click.Choice([way.value for way in Way]), help="Another way than the one that fits best.")
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
    restores nothing, and needs neither the agent nor Bolt.
    """
    if replaces and name is not None:
        raise click.UsageError("--as and --replace exclude each other: --replace restores under the same name")
    asked, cut = asked_point(what, at, before_tx, history, set_name)
    wanted = Wanted(replace=replaces, name=name, way=Way(way) if way else None)
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
    source = source_of(found, asked)
    made = plan(source, known_servers(settings, source.last, neo4j_version), wanted)
    if isinstance(made, Failure):
        printing.complaint(made.error, made.reason, made.advice, as_json=as_json)
        return REFUSED
    if as_json:
        printing.as_json(restore_text.document(made))
    else:
        printing.block(restore_text.text(made))
    return 0 if found.proven else WARNED


def origin_code(*, proven: bool) -> int:
    """Return the exit code for the origin of the records. If the agent does not recognise them, say so on stderr."""
    if proven:
        return 0
    printing.line("ORIGIN NOT PROVEN: this agent neither wrote nor accepted these records", err=True)
    return WARNED
