"""The help of a command: what it does, its options, examples and exit codes. docs/commands.md has the same texts."""

from collections.abc import Mapping
from typing import Any

import click

DONE, FAILED, MISUSED, WARNED, REFUSED = 0, 1, 2, 3, 4

WRONG_USAGE = "wrong usage, or faults in the settings"
"""Why every command exits with 2."""

ANSWERED = {
    DONE: "succeeded",
    FAILED: "failed or cancelled; no answer within --timeout; no running agent",
    WARNED: "succeeded with warnings",
    REFUSED: "rejected",
}
"""The exit codes of a command that waits for an answer."""

CONFIRMED = {**ANSWERED, FAILED: f"{ANSWERED[FAILED]}; not confirmed"}
"""The exit codes of a command that asks for confirmation and waits for an answer."""

EXITS = {
    DONE: "done",
    FAILED: "failed, or not found; no answer from the agent",
    MISUSED: WRONG_USAGE,
    WARNED: "done with warnings, or not ready",
    REFUSED: "refused",
    5: "FAILING, or a failed check of the doctor",
    129: "interrupted by a hang-up; 130 by Ctrl-C, 143 by SIGTERM",
    141: "the reader of the output has gone",
}
"""The exit codes of all commands."""

LONGEST = 200
"""More characters than the first sentence of a command's help has."""


class DocumentedCommand(click.Command):
    """A command whose help ends in examples and exit codes."""

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401  those of click
        examples: tuple[str, ...],
        exits: Mapping[int, str],
        **attributes: Any,  # noqa: ANN401  the same
    ) -> None:
        super().__init__(*arguments, **attributes)
        self.examples = examples
        self.exits = {MISUSED: WRONG_USAGE, **exits}

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples and the exit codes."""
        del ctx
        write_examples(formatter, self.examples)
        write_exits(formatter, self.exits)


class DocumentedGroup(click.Group):
    """A command of several parts, whose help has the whole first sentence of each."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the parts."""
        parts = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(LONGEST)) for name, one in parts if one is not None])


def write_examples(formatter: click.HelpFormatter, examples: tuple[str, ...]) -> None:
    """Write examples, each on a line of its own that can be copied."""
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


def write_exits(formatter: click.HelpFormatter, exits: Mapping[int, str]) -> None:
    """Write what each exit code means."""
    with formatter.section("Exit codes"):
        formatter.write_dl([(str(code), meaning) for code, meaning in sorted(exits.items())])
