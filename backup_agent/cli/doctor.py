"""`backup-agent doctor`."""

import queue
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import click

from backup_agent.cli import cluster_state, printing
from backup_agent.cli.child_events import follow
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, FAILED, WARNED, DocumentedCommand
from backup_agent.cli.options import json_option, settings_option
from backup_agent.core.doctor.checks import CheckFinding, CheckOutcome, worst
from backup_agent.core.doctor.examination import CheckRun, DoctorStage
from backup_agent.core.durations import duration
from backup_agent.core.requests.events import ChecksEnded, CheckTold
from backup_agent.core.requests.tasks import CheckTask
from backup_agent.settings.model import Settings
from backup_agent.settings.unprotected import unprotected
from backup_agent.supervisor.children.doctor_steps import REMOTE, STEP_SECONDS, module_of, why_early
from backup_agent.supervisor.children.process import Ended, Told

CODES = {CheckOutcome.OK: 0, CheckOutcome.WARN: 3, CheckOutcome.FAIL: 5}
"""The exit codes: those of `status --check`."""


def _duration(_context: click.Context, _parameter: click.Parameter, value: str | None) -> timedelta | None:
    try:
        return None if value is None else duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(
    cls=DocumentedCommand,
    examples=(
        "backup-agent doctor",
        "backup-agent doctor --write --json",
        "backup-agent doctor --cluster --servers 3 --wait 30m",
    ),
    exits={
        DONE: "nothing is wrong; with --cluster, the next server may be restarted",
        FAILED: "with --cluster, Bolt does not answer",
        WARNED: "at least one warning; with --cluster, restart no server yet",
        5: "a check fails; with --cluster, the account may not see enough to tell",
    },
)
@click.option("--write", is_flag=True, help="Also try what only a write can show, with one small object at each place.")
@click.option("--cluster", is_flag=True, help="Check only whether the next server of the cluster may be restarted.")
@click.option(
    "--servers", type=click.IntRange(1, 1000), metavar="NUMBER", help="Of --cluster: expect this number of servers."
)
@click.option(
    "--wait",
    callback=_duration,
    metavar="DURATION",
    help="Of --cluster: ask again until the cluster is settled, or this time is over, such as 30m.",
)
@settings_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    write: bool,
    cluster: bool,
    servers: int | None,
    wait: timedelta | None,
    as_json: bool,
) -> int:
    """Check whether the agent can work.

    Looks at cluster, neo4j-admin, volume, keys and destinations, without the agent. Reads only; a destination whose
    store is not known yet gets one small object. With --cluster, asks instead whether the next server may be restarted.
    """
    if write and cluster:
        raise click.UsageError("--write or --cluster, not both")
    if not cluster and (servers is not None or wait is not None):
        raise click.UsageError("--servers and --wait need --cluster")
    settings = loaded(context).settings
    if cluster:
        return cluster_state.show(settings, servers, wait or timedelta(0), as_json=as_json)
    examination = CheckRun(settings.storage.destinations, unprotected(settings.neo4j))
    shown: set[CheckFinding] = set()

    def show() -> None:
        for finding in _findings(examination, settings):
            if not as_json and finding not in shown:
                shown.add(finding)
                _print(finding)

    show()
    while (stage := examination.stage) is not None:
        examination.ended(_carry_out(stage, examination, settings, write=write))
        show()
    findings = _findings(examination, settings)
    outcome = worst(findings)
    if as_json:
        rows = [finding.model_dump(mode="json", exclude_none=True) for finding in findings]
        printing.as_json({"outcome": outcome.value, "checks": rows})
    else:
        counts = Counter(finding.counts for finding in findings)
        printing.line(", ".join(f"{counts[one]} {one.value}" for one in CheckOutcome))
    return CODES[outcome]


def _findings(examination: CheckRun, settings: Settings) -> tuple[CheckFinding, ...]:
    return examination.findings(settings.doctor.acceptances, datetime.now(UTC).date())


def _carry_out(stage: DoctorStage, examination: CheckRun, settings: Settings, *, write: bool) -> str | None:
    """Let a child carry out a stage. Return why it ended early, or None."""
    task = CheckTask(
        settings=settings.model_dump(mode="json"),
        place=stage.place,
        server_versions=examination.server_versions,
        backup_addresses=examination.backup_addresses,
        write=write,
    )
    root, remote = str(settings.storage.root), stage.step in REMOTE
    try:
        with closing(follow(module_of(stage), task, root, STEP_SECONDS, remote=remote)) as messages:
            return _take(messages, examination)
    except queue.Empty:
        return why_early(None)


def _take(events: Iterator[Told | Ended], examination: CheckRun) -> str | None:
    """Take the events of a child. Return why it ended early, or None."""
    done = False
    for message in events:
        match message:
            case Told(event=CheckTold(finding=finding)):
                examination.found(finding)
            case Told(event=ChecksEnded() as ended):
                examination.learned(ended.server_versions, ended.backup_addresses)
                done = True
            case Ended(code=code) if not done:
                return why_early(code)
    return None


def _print(finding: CheckFinding) -> None:
    where = f" {finding.place}" if finding.place else ""
    printing.prose((f"{finding.outcome.value:<8}{finding.check.value}{where}: {finding.found}",), indent=8)
    if finding.accepted is not None:
        printing.prose((f"{'':8}accepted until {finding.accepted_until}: {finding.accepted}",), indent=0)
    elif finding.advice:
        printing.prose((f"{'':8}{finding.advice}",), indent=0)
