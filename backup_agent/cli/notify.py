"""`backup-agent notify`."""

from datetime import UTC, datetime

import click

from backup_agent.cli import printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, FAILED, DocumentedCommand
from backup_agent.cli.options import json_option, settings_option
from backup_agent.core.escaping import did_you_mean
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.requests.notices import TrialNotice
from backup_agent.jobs.notify import NotSent, send
from backup_agent.settings.model import Settings


@click.command(
    cls=DocumentedCommand,
    examples=("backup-agent notify", "backup-agent notify oncall chat"),
    exits={DONE: "every receiver took it", FAILED: "a receiver did not take it, or there is no such receiver"},
)
@click.argument("receivers", nargs=-1, metavar="[RECEIVER]...")
@settings_option
@json_option
@click.pass_context
def command(context: click.Context, receivers: tuple[str, ...], as_json: bool) -> int:
    """Send a test notification to receivers.

    Without RECEIVER, sends one to every receiver of `notify` in the settings. A ping is sent to the URL with `/log`,
    which changes no check; the others get a message that says that it is a test. Needs neither the agent nor Bolt: run
    it where the agent runs, with its network and its files.
    """
    settings = loaded(context).settings
    now = datetime.now(UTC)
    notice = TrialNotice(cluster=settings.cluster, at=now)
    failed = False
    sent = []
    for name in _named(settings, receivers):
        fault = send(name, settings.notify[name], notice)
        failed = failed or fault is not None
        sent.append({"receiver": name, "kind": settings.notify[name].kind.value, "sent": fault is None, **_why(fault)})
        if not as_json:
            _print(name, fault)
    if as_json:
        printing.as_json({"receivers": sent})
    return FAILED if failed else DONE


def _named(settings: Settings, receivers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the receivers. Raise PermanentError if the settings have no receiver, or not all of these."""
    if not settings.notify:
        raise PermanentError(Reason.NOT_FOUND, "there is no receiver", "add one to `notify` in the settings")
    for name in receivers:
        if name not in settings.notify:
            known = f"there are {', '.join(settings.notify)}"
            raise PermanentError(Reason.NOT_FOUND, f"no receiver {name}{did_you_mean(name, settings.notify)}", known)
    return receivers or tuple(settings.notify)


def _why(fault: NotSent | None) -> dict[str, str | None]:
    return {} if fault is None else {"error": fault.error, "hint": fault.hint}


def _print(name: str, fault: NotSent | None) -> None:
    if fault is None:
        printing.line(f"{name}: sent")
        return
    hint = (f"  HINT: {fault.hint}",) if fault.hint else ()
    printing.prose((f"{name}: not sent: {fault.error}", *hint))
