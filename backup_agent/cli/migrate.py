"""`backup-agent migrate`: commands that release a cluster from another program."""

from typing import Any, BinaryIO

import click

from backup_agent.cli import printing
from backup_agent.cli.help import DONE, MISUSED, DocumentedCommand, DocumentedGroup
from backup_agent.cli.options import json_option
from backup_agent.core.json_reader import read_json
from backup_agent.k8s.operator_migration import QUERY, MigrationError, MigrationStep, plan

LARGEST = 64 * 1024 * 1024
"""Most bytes of the objects."""


@click.group(cls=DocumentedGroup)
def command() -> None:
    """Print the commands that release a cluster from an operator."""


@command.command(
    "operator",
    cls=DocumentedCommand,
    examples=("backup-agent migrate operator objects.json",),
    exits={DONE: "printed", MISUSED: "wrong usage, or objects that are refused"},
)
@click.argument("objects", type=click.File("rb"), default="-")
@click.option("--cluster", metavar="NAME", help="Name of the custom resource, if there are several.")
@json_option
def operator_command(objects: BinaryIO, cluster: str | None, *, as_json: bool) -> int:
    """Print the commands that release a cluster from the community operator.

    OBJECTS is the output of `kubectl get … -o json`, by default on stdin. Nothing is changed: read the commands, and
    run them one by one. What is not understood is refused.
    """
    try:
        steps = plan(_items(objects.read(LARGEST + 1)), cluster)
    except MigrationError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        printing.as_json({"steps": [{"title": step.title, "commands": list(step.commands)} for step in steps]})
    else:
        for number, step in enumerate(steps, start=1):
            _print(number, step)
    return 0


def _print(number: int, step: MigrationStep) -> None:
    printing.line(f"# {number}. {step.title}")
    for line in step.commands:
        printing.line(line)
    printing.line("")


def _items(content: bytes) -> list[dict[str, Any]]:
    if len(content) > LARGEST:
        raise MigrationError(f"more than {LARGEST // 1024**2} MiB: name fewer kinds, and one namespace")
    try:
        found = read_json(content)
    except ValueError:
        raise MigrationError(f"no JSON: pipe the output of {QUERY}") from None
    items = found.get("items") if isinstance(found, dict) else None
    if not isinstance(items, list) or not all(isinstance(one, dict) for one in items):
        raise MigrationError(f"no list of objects: pipe the output of {QUERY}")
    return items
