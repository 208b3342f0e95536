"""`backup-agent request`."""

import click

from backup_agent.cli import printing
from backup_agent.cli.asking import labels_of, not_after_option, requested_by_option
from backup_agent.cli.configured import json_option, loaded, settings_option
from backup_agent.cli.dropping import drop, wait_for
from backup_agent.core.requests.request import Action


@click.command()
@click.option(
    "--action",
    type=click.Choice([Action.BACKUP.value, Action.CANCEL.value]),
    default=Action.BACKUP.value,
    show_default=True,
    help="What to request. The other actions have commands of their own.",
)
@click.option(
    "--type",
    "type_",
    type=click.Choice(["FULL", "DIFF", "AUTO"], case_sensitive=False),
    metavar="[FULL|DIFF|AUTO]",
    help="Default: AUTO, the agent decides and says why.",
)
@click.option("--database", "databases", multiple=True, help="A name or glob; `!name` excludes. Repeat for several.")
@click.option("--set", "path", help="The set, which has its own chains. Default: `default`.")
@click.option("--id", "identity", help="Idempotency key. With --action cancel: the request to cancel.")
@click.option("--reason", help="Free text, recorded and logged.")
@click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label, recorded and logged. Repeat for several."
)
@requested_by_option
@not_after_option
@click.option("--wait", is_flag=True, help="Show progress, and exit with the code of the answer.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), help="Stop waiting after this number of seconds. The request goes on."
)
@settings_option
@json_option
@click.pass_context
def command(  # noqa: PLR0917  a request's fields
    context: click.Context,
    action: str,
    type_: str | None,
    databases: tuple[str, ...],
    path: str | None,
    identity: str | None,
    reason: str | None,
    labels: tuple[str, ...],
    requested_by: str | None,
    not_after: str | None,
    wait: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Write a request into the agent's requests folder.

    With --wait it exits 0 for succeeded, 3 for succeeded with warnings, 1 for failed or cancelled, 4 for rejected.
    """
    if timeout is not None and not wait:
        raise click.UsageError("--timeout needs --wait")
    if action == Action.CANCEL.value and identity is None:
        raise click.UsageError("--action cancel needs --id: the id of the request to cancel")
    settings = loaded(context).settings
    fields = {
        "action": action,
        "type": type_,
        "databases": list(databases) or None,
        "path": path,
        "id": identity,
        "reason": reason,
        "labels": labels_of(labels) or None,
        "requested_by": requested_by,
        "not_after": not_after,
    }
    dropped = drop(settings, fields)
    if wait:
        return wait_for(dropped, timeout, as_json=as_json, withdraws=False)
    if as_json:
        printing.as_json({"id": dropped.identity, "request": str(dropped.request), "answer": str(dropped.answer)})
    else:
        printing.lines((f"dropped {dropped.request}", dropped.look))
    return 0
