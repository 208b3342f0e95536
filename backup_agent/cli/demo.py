"""`backup-agent demo`."""

import json
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from backup_agent.cli import answers, printing
from backup_agent.cli.help import DONE, FAILED, MISUSED, DocumentedCommand
from backup_agent.cli.options import json_option
from backup_agent.core.requests.answers import Answer

WIDTH = 120

ABSENT = (
    "backup-agent demo: the demo is not part of this image: "
    "run `make demo` in a checkout, or install the package with its extra `demo`"
)
"""The image leaves out the packages `demo` and `standins` (container/Containerfile)."""


@click.command(
    cls=DocumentedCommand,
    examples=("backup-agent demo --once",),
    exits={
        DONE: "the day has ended",
        FAILED: "the demo could not go on",
        MISUSED: "wrong usage; the demo is not installed",
    },
)
@click.option("--once", is_flag=True, help="End after the day instead of running until Ctrl-C.")
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), help="An empty folder to run in. It is not deleted at the end."
)
@json_option
def command(folder: Path | None, once: bool, as_json: bool) -> int:
    """Show a day of the agent on this machine, without root, Java or a cluster.

    The Neo4j cluster is simulated. The agent is real and, with the extra `demo`, so is the S3 server.
    """
    if find_spec("backup_agent.demo") is None:
        printing.block(ABSENT, err=True)
        return 2
    from backup_agent.demo import day  # noqa: PLC0415  only this command needs the stand-ins
    from backup_agent.demo.world import DemoError  # noqa: PLC0415  only this command needs it

    try:
        day.run(folder, _tell_as_json if as_json else _tell, once=once)
    except DemoError as error:
        printing.block(f"backup-agent demo: {error}", err=True)
        return 1
    return 0


def _tell_as_json(kind: str, value: Any) -> None:  # noqa: ANN401  text, or JSON
    printing.as_json({kind: value}, indent=None)


def _tell(kind: str, value: Any) -> None:  # noqa: ANN401  text, or JSON
    match kind:
        case "part":
            printing.lines(("", f"## {value}"))
        case "shown":
            lines = (f"$ {value['command']}", *value["output"].splitlines())
            printing.lines(("", *(f"    {line}".rstrip() for line in lines)))
        case "answer":
            text = answers.lines(Answer.model_validate_json(json.dumps(value)))
            printing.lines(("", *(folded for line in text for folded in _folded(f"    {line}"))))
        case _:
            printing.block(value)


def _folded(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
