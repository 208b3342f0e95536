"""`backup-agent schema`."""

import click
from pydantic import BaseModel

from backup_agent.cli import printing
from backup_agent.core.answers import Answer
from backup_agent.core.records import Record
from backup_agent.core.requests import Request
from backup_agent.settings.schema import schema


@click.command()
@click.argument("what", type=click.Choice(["config", "request", "record", "answer"]))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, which it does anyway.")
def command(what: str, as_json: bool) -> int:
    """Print the JSON Schema of the settings file, a request, an artifact's record or an answer."""
    del as_json
    models: dict[str, type[BaseModel]] = {"request": Request, "record": Record, "answer": Answer}
    printing.as_json(schema() if what == "config" else models[what].model_json_schema(by_alias=True))
    return 0
