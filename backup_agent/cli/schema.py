"""`backup-agent schema`."""

import click
from pydantic import BaseModel

from backup_agent.cli import printing


@click.command(short_help="Print a JSON Schema.")
@click.argument("what", type=click.Choice(["config", "request", "record", "answer"]))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, which it does anyway.")
def command(what: str, as_json: bool) -> int:
    """Print the JSON Schema of the settings file, a request, an artifact's record or an answer."""
    del as_json
    from backup_agent.core.answers import Answer  # noqa: PLC0415
    from backup_agent.core.records import Record  # noqa: PLC0415
    from backup_agent.core.requests import Request  # noqa: PLC0415
    from backup_agent.settings.schema import schema  # noqa: PLC0415

    models: dict[str, type[BaseModel]] = {"request": Request, "record": Record, "answer": Answer}
    printing.as_json(schema() if what == "config" else models[what].model_json_schema(by_alias=True))
    return 0
