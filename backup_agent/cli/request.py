"""`backup-agent request`."""

from typing import Any

import click

from backup_agent.cli import printing
from backup_agent.cli.asking import labels_of, not_after_option, requested_by_option
from backup_agent.cli.configured import loaded
from backup_agent.cli.dropping import drop, wait_for
from backup_agent.cli.help import DONE, FAILED, REFUSED, WARNED, DocumentedCommand
from backup_agent.cli.options import json_option, settings_option
from backup_agent.core.requests.request import Action


@click.command(
    cls=DocumentedCommand,
    examples=(
        "backup-agent request --type FULL --database orders --wait",
        'backup-agent request --database "orders*" --label ticket=CHG-42 --reason "before the upgrade"',
        "backup-agent request --action cancel --id cli@20261123T020000000000Z-17",
    ),
    exits={
        DONE: "requested; with --wait: succeeded",
        FAILED: "with --wait: failed or cancelled, or no answer within --timeout",
        WARNED: "with --wait: succeeded with warnings",
        REFUSED: "with --wait: rejected",
    },
)
@click.option(
    "--action",
    type=click.Choice([Action.BACKUP.value, Action.CANCEL.value]),
    default=Action.BACKUP.value,
    show_default=True,
    help="What to request. The other actions have commands of their own.",
)
@click.option(
    "--type",
    type=click.Choice(["FULL", "DIFF", "AUTO"], case_sensitive=False),
    metavar="[FULL|DIFF|AUTO]",
    help="Default: AUTO, the agent decides and says why.",
)
@click.option(
    "--database",
    "databases",
    multiple=True,
    metavar="GLOB",
    help="A name or glob; `!name` excludes. Repeat for several.",
)
@click.option("--set", "path", metavar="SET", help="The set, which has its own chains. Default: `default`.")
@click.option("--id", metavar="ID", help="Idempotency key. With --action cancel: the request to cancel.")
@click.option("--reason", help="Free text, recorded and logged.")
@click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label, recorded and logged. Repeat for several."
)
@requested_by_option
@not_after_option
@click.option(
    "--wait",
    type=click.Choice(["copies", "local"]),
    is_flag=False,
    flag_value="copies",
    metavar="[=local]",
    help="Show progress, and exit with the code of the answer. =local: do not wait for the copies.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Stop waiting after this number of seconds. The request goes on.",
)
@settings_option
@json_option
@click.pass_context
def command(context: click.Context, /, wait: str | None, timeout: float | None, as_json: bool, **fields: Any) -> int:  # noqa: ANN401  the fields of a request, by name
    """Send a request, and wait for its answer with --wait.

    Writes a file into the agent's requests folder. --wait=local waits only until every artifact is recorded on the
    volume; the agent goes on with the copies.
    """
    if timeout is not None and wait is None:
        raise click.UsageError("--timeout needs --wait")
    if fields["action"] == Action.CANCEL.value and fields["id"] is None:
        raise click.UsageError("--action cancel needs --id: the id of the request to cancel")
    settings = loaded(context).settings
    fields |= {"databases": list(fields["databases"]) or None, "labels": labels_of(fields["labels"]) or None}
    dropped = drop(settings, fields)
    if wait is not None:
        return wait_for(dropped, timeout, as_json=as_json, withdraws=False, local=wait == "local")
    if as_json:
        printing.as_json({"id": dropped.identity, "request": str(dropped.request), "answer": str(dropped.answer)})
    else:
        printing.lines((f"dropped {dropped.request}", dropped.look))
    return 0
