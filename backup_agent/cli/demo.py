"""`backup-agent demo`."""

import json
import re
import textwrap
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from backup_agent.cli import answers, printing
from backup_agent.cli.help import DONE, FAILED, MISUSED, DocumentedCommand
from backup_agent.cli.options import json_option
from backup_agent.core.requests.answers import Answer, State

WIDTH = 80
INDENT = "   "
ROOM = WIDTH - len(INDENT) - 2
"""Columns for a command, or a line of an output."""

MOST_LINES = 2
"""Lines of the terminal that one line of an output takes at most."""

KEY = re.compile(r", [\w-]+/[\w-]+/[\w.-]+\.backup|[\w-]+/[\w-]+/(?=[\w.-]+\.backup)")
"""What is left out of the key of an artifact, or a whole key at the end of a list."""

LOG_LINE = re.compile(r"[-0-9]{10} [:0-9]{8}\.\d+\+0000 (WARN |ERROR) \[[\w.]+\] ")
"""The beginning of a log line of neo4j-admin."""

ABSENT = (
    "backup-agent demo: the demo is not part of this image: "
    "run `make demo` in a checkout, or install the package with its extra `demo`"
)
"""The image leaves out the packages `demo` and `standins` (container/Containerfile)."""


@click.command(
    cls=DocumentedCommand,
    examples=("backup-agent demo --once", "backup-agent demo --keep"),
    exits={
        DONE: "the demo has ended",
        FAILED: "the demo could not go on",
        MISUSED: "wrong usage; the demo is not installed",
    },
)
@click.option("--once", is_flag=True, help="End after the day instead of running until Ctrl-C.")
@click.option("--keep", is_flag=True, help="Show no day: keep the simulated cluster up until Ctrl-C, to work by hand.")
@click.option("--full", is_flag=True, help="Show more acts, and whole outputs.")
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), help="An empty folder to run in. It is not deleted at the end."
)
@json_option
def command(folder: Path | None, once: bool, keep: bool, full: bool, as_json: bool) -> int:
    """Show a day of the agent on this machine, without root, Java or a cluster.

    The Neo4j cluster is simulated. The agent is real and, with the extra `demo`, so is the S3 server.
    """
    if find_spec("backup_agent.demo") is None:
        printing.block(ABSENT, err=True)
        return 2
    if once and keep:
        raise click.UsageError("--once and --keep exclude each other")
    from backup_agent.demo import day  # noqa: PLC0415  only this command needs the stand-ins
    from backup_agent.demo.errors import DemoError  # noqa: PLC0415  only this command needs it

    try:
        day.run(folder, _tell_as_json if as_json else DemoText(full=full).tell, once=once, keep=keep, full=full)
    except DemoError as error:
        printing.block(f"backup-agent demo: {error}", err=True)
        return 1
    return 0


def _tell_as_json(kind: str, value: Any) -> None:  # noqa: ANN401  text, or JSON
    printing.as_json({kind: value}, indent=None)


class DemoText:
    """Prints what happens in the demo, for a terminal of 80 columns."""

    def __init__(self, *, full: bool) -> None:
        self._full = full
        self._acts = 0

    def tell(self, kind: str, value: Any) -> None:  # noqa: ANN401  text, or JSON
        """Print what happened."""
        match kind:
            case "act":
                self._acts += 1
                number = f"{self._acts}. "
                printing.lines(("", *textwrap.wrap(f"{number}{value}", WIDTH, subsequent_indent=" " * len(number))))
            case "progress":
                printing.lines(_prose(f"{value} ..."))
            case "command":
                self._command(value)
            case "paste":
                printing.line(f"{INDENT}{value}")
            case "output":
                lines = value["whole"] if self._full else [_cut(KEY.sub("", line)) for line in value["short"]]
                printing.lines(f"{INDENT}{line}".rstrip() for line in lines)
            case "detail" if self._full:
                self._command(value["command"])
                printing.lines(f"{INDENT}{line}".rstrip() for line in value["whole"])
            case "answer" | "unexpected":
                printing.lines(self._answer(value, intended=kind == "answer"))
            case "note":
                printing.lines(_prose(value, INDENT if self._acts else ""))

    def _command(self, text: str) -> None:
        first, *others = text.splitlines() if self._full else _short_command(text)
        printing.lines((f"{INDENT}$ {first}", *(f"{INDENT}  {line}" for line in others)))

    def _answer(self, value: dict[str, Any], *, intended: bool) -> Iterator[str]:
        found = Answer.model_validate_json(json.dumps(value))
        first, *others = answers.lines(found)
        remark = ", as intended" if intended and found.state is not State.SUCCEEDED else ""
        yield f"{INDENT}-> {first.partition(': ')[2]}{remark}"
        for line in others:
            if self._full:
                yield f"{INDENT}{line}"
            elif "HINT: " in line:
                yield _cut(f"{INDENT}{line}")
            elif "The whole error: " not in line:
                yield from _folded(f"{INDENT}{LOG_LINE.sub('', KEY.sub('', line))}")


def _short_command(text: str) -> list[str]:
    """Return a command in lines that fit: a request on one or two lines, anything longer is cut."""
    lines = text.splitlines()
    if "> backup-requests/" not in lines[-1]:
        return [_cut(lines[0] + " …" * (len(lines) > 1))]
    command, redirects, file = lines[-1].rpartition(" > ")
    if len(lines[-1]) > ROOM:
        return [*lines[:-1], f"{command} \\", f"  {redirects.strip()} {file}"]
    return lines


def _cut(line: str) -> str:
    return line if len(line) <= ROOM else f"{line[: ROOM - 2].rstrip(' …')} …"


def _prose(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _folded(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(
        line, WIDTH, subsequent_indent=indent, break_on_hyphens=False, max_lines=MOST_LINES, placeholder=" …"
    )
