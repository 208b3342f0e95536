"""The commands that send one request to the agent and wait for its answer: `prune`, `hold`, `pause` and others."""

import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from backup_agent.cli import printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.dropping import drop, insist_on_an_agent, requester, wait_for
from backup_agent.cli.help import ANSWERED, CONFIRMED, DocumentedCommand
from backup_agent.cli.options import PLACE, json_option, settings_option
from backup_agent.core.artifacts.keys import is_key
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.durations import duration, written_duration
from backup_agent.core.requests.request import Action
from backup_agent.core.restore.asked import AskedArtifact
from backup_agent.settings.model import Settings

BEGUN_WITHIN = timedelta(minutes=15)
"""The default of `--not-after` for requests that delete, replace or pause something."""

not_after_option = click.option(
    "--not-after",
    metavar="TIME",
    callback=lambda _context, _option, value: _moment(value),
    help="Do not start the request after this time: ISO 8601, or a duration from now such as 2h.",
)
requested_by_option = click.option(
    "--requested-by",
    default=requester,
    metavar="NAME",
    help="Who asks. Default: $USER, else the names of user and host.",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation. Required without a terminal.")


def waiting(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of a command that sends a request and waits for its answer."""
    for option in (
        json_option,
        settings_option,
        click.option(
            "--timeout",
            type=click.FloatRange(min=0),
            metavar="SECONDS",
            help="Stop waiting after this number of seconds. The request goes on.",
        ),
        not_after_option,
        requested_by_option,
    ):
        command = option(command)
    return command


def with_deadline(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of a request, with `not_after`. If it is not given, it is `BEGUN_WITHIN` from now."""
    return {**fields, "not_after": fields.get("not_after") or _moment(written_duration(BEGUN_WITHIN))}


def may_go(settings: Settings, command: str, question: str, *, yes: bool) -> bool:
    """Check that an agent takes requests, then ask `question` unless `yes`. Return whether to send the request.

    Raise click.UsageError if there is neither a terminal nor `yes`, PermanentError if no agent takes requests.
    """
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(
            f"{question} Nothing was requested, because there is no terminal to confirm at: add --yes"
        )
    insist_on_an_agent(settings, command)
    return yes or confirmed(question)


def confirmed(question: str) -> bool:
    """Ask `question` at the terminal. If the answer is no, say that nothing was requested and return False."""
    if printing.confirm(question):
        return True
    printing.line("nothing was requested", err=True)
    return False


Question = Callable[[Mapping[str, Any]], str | None]
"""Return the question to confirm before a request with these fields is sent.

Return None if the request deletes or replaces nothing.
"""


def asks(
    action: Action, *, expires: bool = False, question: Question = lambda _: None
) -> Callable[[Callable[[], None]], Callable[..., int]]:
    """Turn an empty function into a command that requests `action`. The command's options are the request's fields.

    If `expires` is true, or if `question` returns a question, `not_after` defaults to `BEGUN_WITHIN` from now. If
    `question` returns a question, the command checks that an agent takes requests, and asks before it sends.
    """

    def decorate(empty: Callable[[], None]) -> Callable[..., int]:
        @waiting
        @click.pass_context
        @functools.wraps(empty)
        def ask(
            context: click.Context, /, timeout: float | None, *, as_json: bool, yes: bool = False, **fields: object
        ) -> int:
            settings = loaded(context).settings
            if isinstance(named := fields.get("artifact"), str):
                fields["artifact"] = _key_of(settings, named)
            text = question(fields)
            if text is not None and not may_go(settings, action.value, text, yes=yes):
                return 1
            content = with_deadline(fields) if expires or text is not None else fields
            dropped = drop(settings, {"action": action, **content})
            return wait_for(dropped, timeout, as_json=as_json, withdraws=True)

        return ask

    return decorate


def _key_of(settings: Settings, text: str) -> str:
    """Return the key of the artifact on the volume with this key, path, file name or id, else the text itself."""
    if is_key(text) or not settings.storage.root.is_dir():
        return text
    from backup_agent.catalog.place import place_of  # noqa: PLC0415  a key needs no catalog
    from backup_agent.restore.finding import find_artifact  # noqa: PLC0415  the same

    found = find_artifact(place_of(VOLUME, settings), AskedArtifact(text))
    return found[1] if found is not None else text


def _moment(value: str | None) -> str | None:
    """Convert a duration from now to an ISO 8601 time. Return other text unchanged: `drop` checks the whole request."""
    try:
        return (datetime.now(UTC) + duration(value)).isoformat(timespec="seconds") if value else None
    except ValueError:
        return value


any_place = click.option("--place", metavar=PLACE, help="`local` or a destination. Default: every place.")
required_reason = click.option("--reason", required=True, metavar="TEXT", help="Why. Recorded and logged.")


def _at(fields: Mapping[str, Any]) -> str:
    return f"at {fields['place']}" if fields.get("place") else "at every place"


def _prune_question(fields: Mapping[str, Any]) -> str | None:
    if fields["plan"] and not fields["place"]:
        raise click.UsageError("--plan needs --place: each place has a plan of its own")
    if fields["dry_run"]:
        return None
    if fields["force"] and not fields["plan"]:
        options = "".join(
            f" --{name.replace('_', '-')} {fields[name]}" for name in ("place", "drop_owed") if fields[name]
        )
        raise click.UsageError(
            f"--force needs --plan: show the plans by `backup-agent prune --dry-run --force{options}`, "
            "then run this for one place at a time with the id of its plan"
        )
    given_up = f", and give up the copies missing at {fields['drop_owed']}" if fields["drop_owed"] else ""
    return f"Delete all artifacts {_at(fields)} that retention does not keep{given_up}?"


def _heal_question(fields: Mapping[str, Any]) -> str | None:
    if not fields["heal"]:
        return None
    return f"Replace damaged files of {fields['artifact'] or 'any artifact'} {_at(fields)} with another place's copy?"


@click.command(
    cls=DocumentedCommand,
    examples=(
        "backup-agent plan --place offsite --force",
        "backup-agent prune --place offsite --force --plan 0123456789abcdef",
    ),
    exits=CONFIRMED,
)
@any_place
@click.option("--dry-run", is_flag=True, help="Show the plan and delete nothing.")
@click.option("--force", is_flag=True, help="Delete even if max_delete_share would refuse it. Needs --plan.")
@click.option(
    "--plan",
    metavar="ID",
    help="Id of the plan to carry out. If the plan has changed since, nothing is deleted. Needs --place.",
)
@click.option(
    "--drop-owed",
    metavar=PLACE,
    help="Give up the copies missing at this destination, except those that a later copy needs. Needs --force.",
)
@yes_option
@asks(Action.PRUNE, question=_prune_question)
def prune() -> None:
    """Apply retention now.

    Prints the plan with a reason for each artifact, and carries out exactly that plan.
    """


def labels_of(given: Iterable[str]) -> dict[str, str]:
    """Return labels as a dict. Raise click.UsageError if a label has no text or a key is given twice."""
    found: dict[str, str] = {}
    for label in given:
        key, equals, text = label.partition("=")
        if not equals:
            raise click.UsageError(f"--label {label}: KEY=VALUE expected")
        if key in found:
            raise click.UsageError(f"--label {key}: given twice")
        found[key] = text
    return found


def selecting(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options by which `hold` and `release` select artifacts."""
    for option in (
        click.option(
            "--label",
            "labels",
            multiple=True,
            metavar="KEY=VALUE",
            callback=_labels,
            help="With this label. Repeat for several.",
        ),
        click.option("--to", "taken_to", metavar="DATE", help="Taken at this time or earlier; a day ends in UTC."),
        click.option("--from", "taken_from", metavar="DATE", help="Taken at this time or later; a day begins in UTC."),
        click.option("--database", metavar="GLOB", help="Of these databases: a name or a glob."),
        click.argument("artifact", required=False),
    ):
        command = option(command)
    return command


def _labels(_context: click.Context, _option: click.Parameter, given: Iterable[str]) -> dict[str, str] | None:
    return labels_of(given) or None


def _release_question(fields: Mapping[str, Any]) -> str:
    which = fields["artifact"] or "every artifact that matches"
    return f"End the hold on {which}, so that retention may delete it?"


@click.command(
    cls=DocumentedCommand,
    examples=(
        'backup-agent hold --database "orders*" --from 2026-10-01 --to 2026-12-31 --reason "audit 2026"',
        'backup-agent hold default/orders/orders-2026-11-23T02-00-00.backup --until 2036-12-31 --reason "audit 2026"',
    ),
    exits=ANSWERED,
)
@selecting
@click.option(
    "--until",
    metavar="DATE",
    help="End of the hold: a time with its offset, or a day, such as 2026-12-31, that ends at midnight UTC.",
)
@required_reason
@asks(Action.HOLD)
def hold() -> None:
    """Keep artifacts, whatever retention says.

    A hold lasts until `release` or until a date. Without ARTIFACT, hold every artifact that matches all given options
    now, at every place. Artifacts that are taken later are not held.
    """


@click.command(
    cls=DocumentedCommand,
    examples=('backup-agent release default/orders/orders-2026-11-23T02-00-00.backup --reason "audit ended"',),
    exits=CONFIRMED,
)
@selecting
@required_reason
@yes_option
@asks(Action.RELEASE, question=_release_question)
def release() -> None:
    """Remove the hold on artifacts.

    Releases one artifact, or every held artifact that matches all given options.
    """


@click.command(
    cls=DocumentedCommand,
    examples=('backup-agent pause --for 2h --reason "upgrade of the cluster"',),
    exits=ANSWERED,
)
@click.option(
    "--for",
    "until",
    metavar="DURATION",
    callback=lambda _context, _option, value: _moment(value),
    help="End the pause after this duration, such as 2h, or at this ISO 8601 time. Default: `resume` ends it.",
)
@click.option("--reason", help="Why. Shown by `status`.")
@asks(Action.PAUSE, expires=True)
def pause() -> None:
    """Start no more work until `resume`.

    Starts no requests, schedules and passes, even if the agent restarts. Running work goes on.
    """


@click.command(
    cls=DocumentedCommand,
    examples=("backup-agent resume",),
    exits=ANSWERED,
)
@asks(Action.RESUME, expires=True)
def resume() -> None:
    """End the pause.

    Requests, schedules and passes are started again.
    """


@click.command(
    cls=DocumentedCommand,
    examples=(
        "backup-agent verify --heal --place offsite",
        "backup-agent verify --all --heal",
        "backup-agent verify --chain default/orders/orders-2026-11-23T02-00-00.backup",
    ),
    exits=CONFIRMED,
)
@click.argument("artifact", required=False)
@any_place
@click.option("--all", is_flag=True, help="Read every artifact, in slices, between which backups can run.")
@click.option("--chain", is_flag=True, help="Read the artifact and every artifact that it needs to be restored.")
@click.option("--database", metavar="NAME", help="Read every artifact of one database.")
@click.option(
    "--heal", is_flag=True, help="Replace damaged artifacts with another place's copy, if that copy is undamaged."
)
@yes_option
@asks(Action.VERIFY, question=_heal_question)
def verify() -> None:
    """Read artifacts again and compare them with their records.

    Reads the given artifact, or all that are due. The answer says which artifacts were not read, and why. With --all,
    --chain or --database the agent first estimates how much there is to read and how long that takes. Reading goes on
    after backups and restarts until all has been read.

    With --heal, an artifact that is damaged or missing at a place is written again from another place's copy, if that
    copy was read and is undamaged. The damage mark is removed once the new artifact has been read back.
    """
