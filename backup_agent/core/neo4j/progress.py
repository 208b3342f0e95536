"""What neo4j-admin's own lines say: the stage it is in, and facts for the record.

Lines are matched by their text, never by layout or logger, which differ by version (5.11 logs as c.n.b.v.b, 5.26 as
c.n.b.b, some wrap without time). Texts never seen on a real binary are matched loosely, and a line that says nothing
is no error: the artifact is the truth, these are its story.
"""

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Self


class Stage(StrEnum):
    """Where a backup is."""

    CONNECTING = "connecting"
    CHECKPOINT = "checkpoint"
    COPY = "copy"
    TRANSACTIONS = "transactions"
    RECOVER = "recover"
    ARTIFACT = "artifact"
    DONE = "done"


# How many times limits.stall_timeout a stage may be silent, bytes included. The server's checkpoint moves nothing
# (the tool itself gives up after dbms.cluster.network.client_inactivity_timeout, 10 minutes by default), and recovery
# rewrites pages in place.
_PATIENCE = {Stage.CHECKPOINT: 4, Stage.RECOVER: 4}


def patience(stage: Stage, stall_timeout: timedelta) -> timedelta:
    """Return how long a stage may show neither line nor byte."""
    return stall_timeout * _PATIENCE.get(stage, 1)


@dataclass(frozen=True)
class ProgressStep:
    """What one line says: the stage that begins, and the server where the line names one."""

    stage: Stage | None = None
    server: str | None = None


# One row a text, with where it was seen: 5.11 in an issue's log (neo4j/neo4j#13107), 5.26 in an operator's tests with
# the real image; "loose" is not sourced word for word.
_TEXTS: tuple[tuple[re.Pattern[str], ProgressStep], ...] = tuple(
    (re.compile(text, re.IGNORECASE), step)
    for text, step in (
        # 5.26: "Finished artifact creation 'idle-2026-10-06T07-36-03.backup' for database 'idle', took 38ms."
        (r"finished artifact creation '[^']+'", ProgressStep(Stage.DONE)),
        # loose: only its end is known
        (r"artifact creation|creating (?:backup )?artifact", ProgressStep(Stage.ARTIFACT)),
        # 5.26: "Differential backup of database 'x' failed. Reason: Differential backups require that …"
        (r"differential backup of database '[^']*' failed", ProgressStep()),
        # 5.26: "Falling back to full backup of database 'x'."
        (r"falling back to (?:a )?full backup", ProgressStep(Stage.CONNECTING)),
        # 5.11: "Using remote server localhost:6363 for backup of database 'neo4j'."
        (r"using remote server (?P<server>\S+) for backup", ProgressStep(Stage.CONNECTING)),
        # 5.11 and 5.26: A full begins with a checkpoint on the server.
        (r"start(?:ing)? full backup of database", ProgressStep(Stage.CHECKPOINT)),
        # 5.26, as it stands
        (r"start(?:ing)? differential backup of database", ProgressStep(Stage.TRANSACTIONS)),
        # 5.11: "Start receiving store files for database 'neo4j'."
        (r"(?:start(?:ing)?|finished) receiving store files", ProgressStep(Stage.COPY)),
        # loose: "Start receiving transactions from 3", "Receiving transactions at 3"
        (r"receiv\w+ transactions", ProgressStep(Stage.TRANSACTIONS)),
        # loose: "Start recovering database", "Finished recovering", "Recovery in progress: 10%"
        (r"\brecover(?:ing|y)\b.{0,40}(?:database|progress|store)", ProgressStep(Stage.RECOVER)),
        # 5.11: "Start backup of database 'neo4j'.", "Starting backup of database 'neo4j' from servers: [a:6362]"
        (r"start(?:ing)? backup of database", ProgressStep(Stage.CONNECTING)),
    )
)


def parse(line: str) -> ProgressStep | None:
    """Return what a line says, or None where it says nothing of progress."""
    for text, step in _TEXTS:
        if found := text.search(line):
            return replace(step, server=found.groupdict().get("server"))
    return None


@dataclass(frozen=True)
class Transcript:
    """What all lines so far have said."""

    stage: Stage = Stage.CONNECTING
    server: str | None = None
    spoke: bool = False
    """Whether any line of progress came: a program that never spoke may never have started."""

    def after(self, line: str) -> Self:
        """Return the transcript with one more line."""
        step = parse(line)
        if step is None:
            return self
        return replace(
            self,
            stage=step.stage or self.stage,
            server=step.server or self.server,
            spoke=True,
        )
