"""The child processes of the doctor: one for each step, in the agent and of the command `doctor`."""

from backup_agent.core.doctor.checks import Step
from backup_agent.core.doctor.examination import DoctorStage

CHECK = "check_"
"""The kinds of the doctor's runs begin with this."""

STEP_SECONDS = 120.0
"""Longest time of a step."""

REMOTE = frozenset({Step.DESTINATION})
"""The steps whose children get the credentials of destinations."""


def module_of(stage: DoctorStage) -> str:
    """Return the module that carries out a stage."""
    return f"backup_agent.jobs.{CHECK}{stage.step.value}"


def why_early(code: int | None) -> str:
    """Return why a step ended before all its checks were made. `code` is the exit code; None if it took too long."""
    if code is None:
        return f"the check took longer than {STEP_SECONDS:.0f} s"
    return f"its process was killed by signal {-code}" if code < 0 else f"its process ended with exit code {code}"
