"""The options of commands that need a restore point: which one, and from which place."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import click

from backup_agent.cli.options import PLACE, checked_name
from backup_agent.core.artifacts.names import DEFAULT_SET, SetName, name_of_set
from backup_agent.core.restore.asked import AskedArtifact, parse_asked
from backup_agent.core.restore.moments import Moment, parse_moment
from backup_agent.restore.finding import Asked, Cut

_OPTIONS = (
    click.argument("what", metavar="DATABASE|ARTIFACT"),
    click.option("--at", metavar="TIME", help="The state at this time, given with its time zone or UTC offset."),
    click.option("--before-tx", type=click.IntRange(min=1), metavar="N", help="The state before this transaction."),
    click.option(
        "--from", "place", metavar=PLACE, help="`local` or a destination. Default: the first that has the point."
    ),
    click.option("--history", metavar="ID", help="An older history of a database that was replaced since."),
    click.option(
        "--set",
        "set_name",
        metavar="SET",
        callback=checked_name(name_of_set),
        default=DEFAULT_SET,
        show_default=True,
        help="The set with the artifacts of the database.",
    ),
)


def point_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the argument and the options that `asked_point` takes, and `place`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def asked_point(
    what: str, at: str | None, before_tx: int | None, history: str | None, set_name: SetName
) -> tuple[Asked, Cut]:
    """Return what is asked for. Raise click.UsageError if it is not understood, or if it is in the future."""
    asked = _asked(what, at, before_tx)
    if isinstance(asked, AskedArtifact) and history is not None:
        raise click.UsageError("--history goes with the name of a database: an artifact belongs to one history")
    return asked, Cut(set=set_name, before_tx=before_tx, history=history)


def _asked(what: str, at: str | None, before_tx: int | None) -> Asked:
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
