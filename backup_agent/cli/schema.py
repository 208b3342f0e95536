"""`backup-agent schema`."""

import click
from pydantic import BaseModel

from backup_agent.cli import printing
from backup_agent.cli.help import DONE, MISUSED, DocumentedCommand
from backup_agent.core.artifacts.records import Record
from backup_agent.core.requests.answers import Answer
from backup_agent.core.requests.request import Request
from backup_agent.k8s.alone import schema as spec_schema
from backup_agent.settings.schema import schema as settings_schema


@click.command(
    cls=DocumentedCommand,
    examples=("backup-agent schema config > config.schema.json",),
    exits={DONE: "printed", MISUSED: "wrong usage"},
)
@click.argument("what", type=click.Choice(["config", "request", "record", "answer", "cluster"]))
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the default.")
def command(what: str, as_json: bool) -> int:
    """Print the JSON Schema of the settings, a request, a record, an answer or a cluster's spec."""
    del as_json
    models: dict[str, type[BaseModel]] = {"request": Request, "record": Record, "answer": Answer}
    files = {"config": settings_schema, "cluster": spec_schema}
    printing.as_json(files[what]() if what in files else models[what].model_json_schema(by_alias=True))
    return 0
