"""Databases whose last drill failed, or is older than an objective allows."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from backup_agent.core.artifacts.keys import database_key, name_of
from backup_agent.core.artifacts.names import lowered
from backup_agent.core.drill.evidence import DatabaseDrills
from backup_agent.core.drill.levels import Level
from backup_agent.core.durations import written_duration
from backup_agent.core.protection.expected import LEAST_GRACE, Pair, Rules
from backup_agent.core.protection.health import OverdueDrill


def drill_faults(
    drills: Iterable[DatabaseDrills], began: Mapping[Pair, datetime], rules: Rules, level: Level, now: datetime
) -> tuple[OverdueDrill, ...]:
    """Return the drills that failed or are overdue, one for each set and database, in their order.

    `began` has each database with backups, and since when they are expected. A database has until `drilled_every` of
    its objective and the grace after that moment. Its proof may be that of any place, at `level` or a higher one.
    """
    faults: dict[Pair, OverdueDrill] = {}
    proofs: dict[Pair, datetime] = {}
    for one in drills:
        pair = one.set, lowered(one.database)
        if (proof := one.proven(level)) is not None:
            proofs[pair] = max(proof, proofs.get(pair, proof))
        if (failed := one.failed) is not None:
            says = ", says evidence that no trusted key has signed" if failed is one.claimed else ""
            text = f"the drill of {name_of(failed.key)} at {one.place} ended as {failed.outcome.value}{says}"
            faults[pair] = OverdueDrill(database_key(*pair), text, failed.at)
    for pair, since in began.items():
        objective = rules.objective(pair)
        every = objective.drilled_every if objective is not None else None
        if objective is None or every is None or pair in faults:
            continue
        proof = proofs.get(pair)
        due = (proof or since) + every
        if now > due + (objective.grace or LEAST_GRACE):
            last = "never" if proof is None else f"last {proof:%Y-%m-%d}"
            text = f"drilled {last} at the level {level.value}, and drilled_every is {written_duration(every)}"
            faults[pair] = OverdueDrill(database_key(*pair), text, due)
    return tuple(fault for _, fault in sorted(faults.items()))
