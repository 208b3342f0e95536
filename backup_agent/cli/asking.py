"""The commands that ask the agent for one thing each, and wait for its answer."""

import functools
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from backup_agent.cli import printing
from backup_agent.cli.configured import json_option, loaded, settings_option
from backup_agent.cli.dropping import drop, insist_on_an_agent, requester, wait_for
from backup_agent.core.requests.request import Action
from backup_agent.core.retention.plan import written_duration
from backup_agent.settings.grammar import duration
from backup_agent.settings.model import Settings

BEGUN_WITHIN = timedelta(minutes=15)
"""How long a request that deletes, replaces or pauses something may wait before it is begun, unless said otherwise."""

not_after_option = click.option(
    "--not-after",
    metavar="TIME",
    callback=lambda _context, _option, value: _moment(value),
    help="Do not start it later than this ISO 8601 time, or this long from now, such as 2h.",
)
requested_by_option = click.option(
    "--requested-by", default=requester, help="Who asks; default: $USER, or the names of user and host."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask; required without a terminal.")


def waiting(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of a command that asks and waits."""
    for option in (
        json_option,
        settings_option,
        click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait; the request goes on."),
        not_after_option,
        requested_by_option,
    ):
        command = option(command)
    return command


def soon(fields: Mapping[str, object]) -> dict[str, object]:
    """Return a request's fields with a `not_after` of a few minutes from now, unless they have one."""
    return {**fields, "not_after": fields.get("not_after") or _moment(written_duration(BEGUN_WITHIN))}


def may_go(settings: Settings, command: str, question: str, *, yes: bool) -> bool:
    """Ask whether something may be deleted, replaced or released; first of all, there must be an agent to do it.

    Raise click.UsageError if there is neither a terminal nor --yes, PermanentError if there is no agent.
    """
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(f"{question} There is no terminal to ask at, and nothing was requested: add --yes")
    insist_on_an_agent(settings, command)
    return yes or confirmed(question)


def confirmed(question: str) -> bool:
    """Ask at the terminal, on stderr."""
    if printing.confirm(question):
        return True
    printing.line("nothing was requested", err=True)
    return False


Destroys = Callable[[Mapping[str, Any]], str | None]
"""Returns the question to confirm before a request with these fields; None if it deletes and replaces nothing."""


def asks(
    action: Action, *, prompt: bool = False, destroys: Destroys = lambda _: None
) -> Callable[[Callable[[], None]], Callable[..., int]]:
    """Replace a command's empty body by one that asks the agent for an action; the options are the request's fields.

    A `prompt` request is not begun much later than it was asked for. Nor is a request that `destroys` something, which
    also needs a running agent and a confirmation.
    """

    def made(described: Callable[[], None]) -> Callable[..., int]:
        @waiting
        @click.pass_context
        @functools.wraps(described)
        def ask(
            context: click.Context, /, timeout: float | None, *, as_json: bool, yes: bool = False, **fields: object
        ) -> int:
            settings = loaded(context).settings
            question = destroys(fields)
            if question is not None and not may_go(settings, action.value, question, yes=yes):
                return 1
            asked = soon(fields) if prompt or question is not None else fields
            dropped = drop(settings, {"action": action, **asked})
            return wait_for(dropped, timeout, as_json=as_json, withdraws=True)

        return ask

    return made


def _moment(value: str | None) -> str | None:
    """Return the ISO 8601 time of a span from now, or any other value as it is: the request's check reports it."""
    try:
        return (datetime.now(UTC) + duration(value)).isoformat(timespec="seconds") if value else None
    except ValueError:
        return value


any_place = click.option("--place", help="`local` or a destination; else every place.")
an_artifact = click.argument("artifact")
required_reason = click.option("--reason", required=True, help="Why: kept with it.")


def _at(fields: Mapping[str, Any]) -> str:
    return f"at {fields['place']}" if fields.get("place") else "at every place"


def _prunes(fields: Mapping[str, Any]) -> str | None:
    if fields["plan"] and not fields["place"]:
        raise click.UsageError("--plan needs --place: each place has a plan of its own")
    if fields["dry_run"]:
        return None
    if fields["force"] and not fields["plan"]:
        options = "".join(
            f" --{name.replace('_', '-')} {fields[name]}" for name in ("place", "drop_owed") if fields[name]
        )
        raise click.UsageError(
            f"--force needs --plan: look at the plan by `backup-agent prune --dry-run --force{options}`, "
            "and give its id, place by place"
        )
    given_up = f", and give up the copies missing at {fields['drop_owed']}" if fields["drop_owed"] else ""
    return f"Delete {_at(fields)} what retention does not keep{given_up}?"


def _heals(fields: Mapping[str, Any]) -> str | None:
    if not fields["heal"]:
        return None
    return f"Replace damaged files of {fields['artifact'] or 'every artifact'} {_at(fields)} by another place's copy?"


@click.command()
@any_place
@click.option("--dry-run", is_flag=True, help="Answer with the plan, and delete nothing.")
@click.option("--force", is_flag=True, help="Delete even if max_delete_share would refuse it; needs --plan.")
@click.option("--plan", help="The plan that was looked at; another is refused. Each place has its own: needs --place.")
@click.option(
    "--drop-owed",
    metavar="DEST",
    help="Give up the copies missing there, except those that a later copy needs; needs --force.",
)
@yes_option
@asks(Action.PRUNE, destroys=_prunes)
def prune() -> None:
    """Apply retention now: print the plan with a reason an artifact, and carry out exactly that."""


@click.command()
@an_artifact
@required_reason
@asks(Action.HOLD)
def hold() -> None:
    """Keep an artifact, whatever the policy says, until it is released."""


@click.command()
@an_artifact
@yes_option
@asks(Action.RELEASE, destroys=lambda fields: f"End the hold on {fields['artifact']}, so that retention may delete it?")
def release() -> None:
    """End the hold on an artifact."""


@click.command()
@click.option("--reason", help="Why: shown by status.")
@asks(Action.PAUSE, prompt=True)
def pause() -> None:
    """Start nothing from now on, over restarts too; what runs goes on."""


@click.command()
@asks(Action.RESUME, prompt=True)
def resume() -> None:
    """Start again what is asked for and what is due."""


@click.command()
@click.argument("artifact", required=False)
@any_place
@click.option("--all", is_flag=True, help="Read every artifact, in slices that give way to backups.")
@click.option("--chain", is_flag=True, help="Read the artifact and everything that it needs to be restored.")
@click.option("--database", metavar="NAME", help="Read every artifact of one database.")
@click.option("--heal", is_flag=True, help="Write again what is damaged, from another place whose bytes are right.")
@yes_option
@asks(Action.VERIFY, destroys=_heals)
def verify() -> None:
    """Read again an artifact, or what is due, and compare it with its record.

    The answer says what was not read, and why. --all, --chain and --database say first how much there is to read and
    how long that may take, and go on after backups and restarts until everything has been read.

    With --heal, what is damaged or missing at a place is written again from another place's copy, once that has proven
    right; the damage mark goes when what was written has been read again.
    """
