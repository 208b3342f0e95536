"""Judge whether drills can be as frequent as the objectives say."""

from collections.abc import Sequence

from backup_agent.core.doctor.checks import Check, CheckFinding, ok, warn
from backup_agent.core.drill.budget import MEET_THE_OBJECTIVE, DrillCycle


def judge_drill_cycles(cycles: Sequence[DrillCycle]) -> CheckFinding:
    """Judge the cycles of all schedules of drills."""
    if not cycles:
        return ok(Check.DRILL_CYCLE, "no schedule drills")
    if late := [one for one in cycles if one.is_late]:
        return warn(Check.DRILL_CYCLE, "; ".join(map(str, late)), MEET_THE_OBJECTIVE)
    return ok(Check.DRILL_CYCLE, "; ".join(map(str, cycles)))
