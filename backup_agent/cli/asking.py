"""The commands that ask the agent for one thing each, and wait for its answer."""

import functools
import os
from collections.abc import Callable

import click

from backup_agent.cli.configured import json_option, loaded, settings_option
from backup_agent.cli.dropping import drop, wait_for
from backup_agent.core.requests import Action


def waiting(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of a command that asks and waits."""
    for option in (
        json_option,
        settings_option,
        click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait; the request goes on."),
        click.option("--requested-by", default=lambda: os.environ.get("USER"), help="Who asks; else $USER."),
    ):
        command = option(command)
    return command


def asks(action: Action) -> Callable[[Callable[[], None]], Callable[..., int]]:
    """Give a function without a body the one of asking for an action: its options are the request's fields."""

    def made(described: Callable[[], None]) -> Callable[..., int]:
        @waiting
        @click.pass_context
        @functools.wraps(described)
        def ask(context: click.Context, /, timeout: float | None, *, as_json: bool, **fields: object) -> int:
            return wait_for(drop(loaded(context).settings, {"action": action, **fields}), timeout, as_json=as_json)

        return ask

    return made


any_place = click.option("--place", help="`local` or a destination; else every place.")
an_artifact = click.argument("artifact")
required_reason = click.option("--reason", required=True, help="Why: kept with it.")


@click.command()
@any_place
@click.option("--dry-run", is_flag=True, help="Answer with the plan, and delete nothing.")
@click.option("--force", is_flag=True, help="Also where max_delete_share would refuse.")
@click.option(
    "--plan", help="The plan that was looked at; another is refused. Each place has its own: write --place too."
)
@click.option(
    "--drop-owed",
    metavar="DEST",
    help="Give up the copies owed to it, but for what a later copy continues; needs --force.",
)
@asks(Action.PRUNE)
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
@asks(Action.RELEASE)
def release() -> None:
    """End the hold on an artifact."""


@click.command()
@click.option("--reason", help="Why: shown by status.")
@asks(Action.PAUSE)
def pause() -> None:
    """Start nothing from now on, over restarts too; what runs goes on."""


@click.command()
@asks(Action.RESUME)
def resume() -> None:
    """Start again what is asked for and what is due."""


@click.command()
@click.argument("artifact", required=False)
@any_place
@click.option("--heal", is_flag=True, help="Write again what is damaged, from another place whose bytes are right.")
@asks(Action.VERIFY)
def verify() -> None:
    """Read again an artifact, or what is due, and compare it with its record.

    With --heal, what is damaged or missing at a place is written again from another place's copy, once that has proven
    right; the damage mark goes when what was written has been read again.
    """
