"""Kill processes of an agent at a chosen step of their work (crashing/sitecustomize.py)."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from tests.agent.live import FINAL, Live
from tests.polling import PATIENCE, until

CRASHING = Path(__file__).parent / "crashing"
ENOUGH = 400
"""A number of steps that no process reaches."""

SUPERVISOR = "backup_agent.supervisor"


class Death(NamedTuple):
    """Which process dies, whether others die with it, and which of its steps are counted (sitecustomize.py)."""

    module: str
    who: str
    among: str
    databases: tuple[str, ...] = ("orders",)
    """The databases of the request. One child backs them up, one after the other."""


def crash(live: Live, death: Death, step: int) -> bool:
    """Let the agent take backups and die at a step. Return whether it reached that step."""
    once = live.folder / "crashed"
    live.start(
        ready=False,
        PYTHONPATH=str(CRASHING),
        CRASH_IN=death.module,
        CRASH_AT=str(step),
        CRASH_AMONG=death.among,
        CRASH_WHO=death.who,
        CRASH_ONCE=str(once),
        CRASH_BELOW=str(live.folder),
    )
    live.requests.mkdir(exist_ok=True)
    live.drop("x.request", id="one", type="FULL", databases=list(death.databases))
    until_dead_or_answered(live, "x")
    return once.exists()


def until_dead_or_answered(live: Live, name: str, patience: float = PATIENCE) -> bool:
    """Wait for the end of the agent or its answer. Return whether the agent lives."""
    assert live.process is not None
    process = live.process
    ended = "end of the agent or its answer"
    until(lambda: process.poll() is not None or final(live, name) is not None, ended, patience)
    return process.poll() is None


def after_it(live: Live, death: Death) -> dict[str, Any]:
    """Start the agent again if it died. Return its answer."""
    assert live.process is not None
    if death.module == SUPERVISOR and live.process.poll() is None:
        live.kill()  # the step may come after the answer
    if live.process.poll() is not None:
        live.start()
    return live.answer("x")


def final(live: Live, name: str) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads((live.requests / f"{name}.status.json").read_text())
    except (OSError, ValueError):
        return None
    return content if content["state"] in FINAL else None


class Kinds:
    """A live agent whose process dies at the first change of each kind: each write in "Orders" of docs/design.md."""

    def __init__(self, live: Live, module: str, who: str) -> None:
        self.live = live
        self._died = live.folder / "kinds"
        self._died.mkdir()
        self._armed = live.folder / "armed"
        live.requests.mkdir(exist_ok=True)
        live.environ = {
            "PYTHONPATH": str(CRASHING),
            "CRASH_IN": module,
            "CRASH_WHO": who,
            "CRASH_KINDS": str(self._died),
            "CRASH_ARMED": str(self._armed),
        }

    def arm(self, *, armed: bool = True) -> None:
        if armed:
            self._armed.touch()
        else:
            self._armed.unlink(missing_ok=True)

    @property
    def died(self) -> list[str]:
        """The kinds at which a process has died."""
        return [path.read_text() for path in self._died.iterdir()]
