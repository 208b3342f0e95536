"""`backup-agent doctor`."""

import queue
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import click

from backup_agent.cli import printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, WARNED, DocumentedCommand
from backup_agent.cli.options import json_option, settings_option
from backup_agent.core.doctor.checks import CheckFinding, CheckOutcome, worst
from backup_agent.core.doctor.examination import CheckRun, DoctorStage
from backup_agent.core.requests.events import ChecksEnded, CheckTold
from backup_agent.core.requests.tasks import CheckTask
from backup_agent.settings.model import Settings
from backup_agent.settings.unprotected import unprotected
from backup_agent.supervisor.children.process import Child, Ended, Told
from backup_agent.supervisor.work.doctor import REMOTE, STEP_SECONDS, module_of, why_early

CODES = {CheckOutcome.OK: 0, CheckOutcome.WARN: 3, CheckOutcome.FAIL: 5}
"""The exit codes: those of `status --check`."""


@click.command(
    cls=DocumentedCommand,
    examples=("backup-agent doctor", "backup-agent doctor --write --json"),
    exits={
        DONE: "nothing is wrong",
        WARNED: "at least one warning",
        5: "a check fails",
    },
)
@click.option("--write", is_flag=True, help="Also try what only a write can show, with one small object at each place.")
@settings_option
@json_option
@click.pass_context
def command(context: click.Context, write: bool, as_json: bool) -> int:
    """Check whether the agent can work.

    Looks at cluster, neo4j-admin, volume, keys and destinations, without the agent. Reads only; a destination whose
    store is not known yet gets one small object.
    """
    settings = loaded(context).settings
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
    inbox: queue.SimpleQueue[Told | Ended] = queue.SimpleQueue()
    task = CheckTask(
        settings=settings.model_dump(mode="json"),
        place=stage.place,
        server_versions=examination.server_versions,
        backup_addresses=examination.backup_addresses,
        write=write,
    )
    child = Child(
        "doctor",
        module_of(stage),
        task.model_dump_json().encode(),
        inbox.put,
        root=str(settings.storage.root),
        keep=None,
        remote=stage.step in REMOTE,
    )
    try:
        return _follow(inbox.get, examination)
    except queue.Empty:
        return why_early(None)
    finally:
        if not child.ended:
            child.kill()


def _follow(get: Callable[..., Told | Ended], examination: CheckRun) -> str | None:
    """Take the events of a child until its end. Return why it ended early, or None. Raise queue.Empty if it hangs."""
    done = False
    while True:
        match get(timeout=STEP_SECONDS):
            case Told(event=CheckTold(finding=finding)):
                examination.found(finding)
            case Told(event=ChecksEnded() as ended):
                examination.learned(ended.server_versions, ended.backup_addresses)
                done = True
            case Ended(code=code):
                return None if done else why_early(code)


def _print(finding: CheckFinding) -> None:
    where = f" {finding.place}" if finding.place else ""
    texts = [f"{finding.outcome.value:<8}{finding.check.value}{where}: {finding.found}"]
    if finding.accepted is not None:
        texts.append(f"{'':8}accepted until {finding.accepted_until}: {finding.accepted}")
    elif finding.advice:
        texts.append(f"{'':8}{finding.advice}")
    printing.prose(texts)
