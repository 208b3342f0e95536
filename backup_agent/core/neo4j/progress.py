"""Parse the progress that neo4j-admin prints: the stage of a backup, and the server it uses.

Lines are matched by their text, since layout and logger differ between versions (5.11 logs as c.n.b.v.b, 5.26 as
c.n.b.b, some lines have no time). Texts that were never seen in real output are matched loosely. An unknown line is not
an error: whether a backup succeeded is judged by its artifact (`core.neo4j.verdict`).
"""

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Self


class Stage(StrEnum):
    """Stage of a backup."""

    CONNECTING = "connecting"
    CHECKPOINT = "checkpoint"
    COPY = "copy"
    TRANSACTIONS = "transactions"
    RECOVER = "recover"
    ARTIFACT = "artifact"
    DONE = "done"


# Factors of limits.stall_timeout for stages without visible progress. The server sends nothing during a checkpoint
# (neo4j-admin gives up after dbms.cluster.network.client_inactivity_timeout, 10 minutes by default), and recovery
# rewrites pages in place.
_STALL_FACTORS = {Stage.CHECKPOINT: 4, Stage.RECOVER: 4}


def patience(stage: Stage, stall_timeout: timedelta) -> timedelta:
    """Return how long a stage may run without output and without transferred bytes."""
    return stall_timeout * _STALL_FACTORS.get(stage, 1)


@dataclass(frozen=True)
class ProgressStep:
    """Content of one line: the stage that begins, and the server if the line names one."""

    stage: Stage | None = None
    server: str | None = None


# Each row has the version in which the text was seen: 5.11 in the log of an issue (neo4j/neo4j#13107), 5.26 in an
# operator's tests with the real image. The exact text of a "loose" row is not known.
_TEXTS: tuple[tuple[re.Pattern[str], ProgressStep], ...] = tuple(
    (re.compile(text, re.IGNORECASE), step)
    for text, step in (
        # 5.26: "Finished artifact creation 'idle-2026-10-06T07-36-03.backup' for database 'idle', took 38ms."
        (r"finished artifact creation '[^']+'", ProgressStep(Stage.DONE)),
        # loose: only the line at the end of this stage is known
        (r"artifact creation|creating (?:backup )?artifact", ProgressStep(Stage.ARTIFACT)),
        # 5.26: "Differential backup of database 'x' failed. Reason: Differential backups require that …"
        (r"differential backup of database '[^']*' failed", ProgressStep()),
        # 5.26: "Falling back to full backup of database 'x'."
        (r"falling back to (?:a )?full backup", ProgressStep(Stage.CONNECTING)),
        # 5.11: "Using remote server localhost:6363 for backup of database 'neo4j'."
        (r"using remote server (?P<server>\S+) for backup", ProgressStep(Stage.CONNECTING)),
        # 5.11 and 5.26; a full begins with a checkpoint on the server
        (r"start(?:ing)? full backup of database", ProgressStep(Stage.CHECKPOINT)),
        # 5.26
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
    """Parse a line. Return None if it is not about progress."""
    for text, step in _TEXTS:
        if found := text.search(line):
            return replace(step, server=found.groupdict().get("server"))
    return None


@dataclass(frozen=True)
class Transcript:
    """The progress of a backup according to all lines so far."""

    stage: Stage = Stage.CONNECTING
    server: str | None = None
    spoke: bool = False
    """Whether any line was about progress. If not, the program may not have started properly."""

    def after(self, line: str) -> Self:
        """Return the transcript after one more line."""
        step = parse(line)
        if step is None:
            return self
        return replace(
            self,
            stage=step.stage or self.stage,
            server=step.server or self.server,
            spoke=True,
        )
