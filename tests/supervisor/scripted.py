"""An agent whose clock is virtual and whose child processes follow a script; everything else is the real supervisor."""

import heapq
import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from backup_agent.cluster.rows import COPIES, events_with
from backup_agent.core.doctor.checks import CheckFinding
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests import events
from backup_agent.core.requests.answers import CopyState, DatabaseResult, Outcome, PlaceResult
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.agent import Agent
from backup_agent.supervisor.children import runs
from backup_agent.supervisor.children.doctor_steps import CHECK
from backup_agent.supervisor.children.process import Ended, Told

BACKUP_SECONDS, COPY_SECONDS, PASS_SECONDS, CHECK_SECONDS, NOTIFY_SECONDS = 20.0, 5.0, 2.0, 4.0, 1.0
PAGE_SECONDS = 3.0
DRILL_SECONDS = 12.0

Step = tuple[float, events.ChildEvent]
"""Seconds since the previous step, and the event that the child writes then."""


@dataclass
class Child:
    """A scripted child process."""

    world: "ScriptedAgent"
    run: str
    module: str
    task: dict[str, Any]
    script: Iterator[Step]
    pid: int = 0
    waits: bool = False
    """Whether the child waits for a next task. A scripted child ends after its task."""
    over: bool = False
    yields: bool = False

    def ask_to_end(self) -> None:
        """End at once, as SIGTERM does."""
        self.end(-signal.SIGTERM)

    def ask_to_yield(self) -> None:
        self.yields = True

    def kill(self) -> None:
        self.end(-signal.SIGKILL)

    def end(self, code: int) -> None:
        if not self.over:
            self.over = True
            self.world.later(0.0, lambda: self.world.handle(Ended(self.run, code)))

    def go_on(self) -> None:
        """Tell the next event of the script when it is due, and end after the last one."""
        step = next(self.script, None)
        if step is None:
            self.end(0)
            return
        seconds, event = step

        def tell() -> None:
            if not self.over:
                self.world.handle(Told(self.run, event))  # type: ignore[arg-type]  # every event is one of the union
                self.go_on()

        self.world.later(seconds, tell)


@dataclass
class ScriptedAgent:
    """One agent. `destinations` maps each destination to what it does: works, hangs, refuses or throttles."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    destinations: dict[str, str]
    limit: int | None = None
    now: float = 1000.0
    asked: dict[str, float] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)
    recorded: dict[str, float] = field(default_factory=dict)
    """Key of an artifact -> when it was recorded."""
    stored: dict[str, dict[str, float]] = field(default_factory=dict)
    """Destination -> key of an artifact -> when its copy was stored."""
    answered: dict[str, float] = field(default_factory=dict)
    checks: dict[str, CheckFinding] = field(default_factory=dict)
    """Step of the doctor -> what it finds."""
    notify: dict[str, Any] = field(default_factory=dict)
    """The setting `notify`."""
    refusing: set[str] = field(default_factory=set)
    """Receivers that do not take notifications."""
    hanging: set[str] = field(default_factory=set)
    """Receivers for which the process hangs that sends."""
    notified: list[float] = field(default_factory=list)
    """When each process was started that sends a notification."""
    page_fault: str | None = None
    """Why the status page cannot be made."""
    together: int = 0
    """Largest number of processes at destinations that have run beside a backup."""

    def __post_init__(self) -> None:
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self.children: list[Child] = []
        self.stored = {place: {} for place in self.destinations}
        self.monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.monkeypatch.setattr(runs, "Child", self._spawn)
        for part in ("destinations", "memory_beside"):
            self.monkeypatch.setattr(f"backup_agent.supervisor.work.{part}.memory_limit", lambda: self.limit)
        # An hour has a thousand writes, which need not be durable. The memory limit of the test's process is ignored.
        self.monkeypatch.setattr(os, "fsync", lambda _: None)
        self.monkeypatch.setattr("backup_agent.supervisor.agent.give_back", lambda: None)
        root = self.folder / "root"
        (root / ".agent").mkdir(parents=True)
        places = {name: {"type": "s3", "bucket": name} for name in self.destinations}
        tree = {
            "cluster": "demo",
            "neo4j": {"uri": "neo4j://demo:7687"},
            "requests": {"folder": str(self.folder / "requests")},
            "storage": {"root": str(root), "destinations": places},
            "schedules": {},
            "notify": self.notify,
        }
        config = self.folder / "config.yaml"
        config.write_text(yaml.safe_dump(tree))
        self.agent = Agent(Reloader(config, {}))
        self.parts = self.agent._parts
        self.parts.spool.prepare()
        self.parts.maintenance.take_settings(surveyed=False)
        self.parts.destinations.take_settings()
        self.parts.survey.start(self.now)

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + seconds, next(self._number), do))

    def handle(self, message: Told | Ended) -> None:
        self.agent._handle(message)

    def ask(self, identity: str, database: str) -> None:
        """Drop a request for a FULL."""
        self.drop(identity, type="FULL", database=database)

    def drop(self, identity: str, **fields: str) -> None:
        """Drop a request."""
        self.asked[identity] = self.now
        (self.folder / "requests" / f"{identity}.request").write_text(json.dumps({"id": identity, **fields}))
        self.parts.intake.take_dropped(self.now)
        self.later(1.0, self._take)

    def _take(self) -> None:
        self.parts.intake.take_dropped(self.now)

    def go_until(self, end: float, every: int = 5) -> None:
        """Let the time pass until `end`. The loop makes a step for each event, and one each `every` seconds."""
        for tick in range(int(self.now), int(end), every):
            heapq.heappush(self._queue, (float(tick), next(self._number), lambda: None))
        while self._queue and self._queue[0][0] <= end:
            at, _, do = heapq.heappop(self._queue)
            self.now = max(self.now, at)
            do()
            self.parts.runs.enforce(self.now, all_end=False)
            self.agent._advance()
            self._look()
        self.now = end

    def _look(self) -> None:
        kinds = [run.kind for _, run in self.parts.runs]
        if "backup" in kinds:
            self.together = max(self.together, self.parts.runs.at_destinations)
        for identity in self.asked.keys() - self.answered.keys():
            if self.parts.requests.find(identity) is None and self.answer(identity)["state"] != "queued":
                self.answered[identity] = self.now

    def answer(self, identity: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "requests" / "answers" / f"{identity}.json").read_text())
        return content

    def _spawn(self, name: str, module: str, task: bytes, *_: object, **__: object) -> Child:
        content = json.loads(task)
        child = Child(self, name, module, content, iter(()))
        step = module.rpartition(".")[2]
        child.script = (
            self._check(step.removeprefix(CHECK))
            if step.startswith(CHECK)
            else {
                "survey": self._survey,
                "cluster": self._cluster,
                "backup": self._back_up,
                "copy": self._copy,
                "notify": self._notify,
                "page": self._page,
                "drill": self._drill,
            }.get(content.get("kind", module.rpartition(".")[2]), self._pass)(child)
        )
        self.children.append(child)
        child.go_on()
        return child

    def _check(self, step: str) -> Iterator[Step]:
        if step in self.checks:
            yield 0.0, events.CheckTold(finding=self.checks[step])
        yield CHECK_SECONDS, events.ChecksEnded()

    def _notify(self, child: Child) -> Iterator[Step]:
        self.notified.append(self.now)
        receiver = child.task["receiver"]
        seconds = 1e9 if receiver in self.hanging else NOTIFY_SECONDS
        error = "the receiver answered HTTP 500" if receiver in self.refusing else None
        yield seconds, events.NotificationEnded(error=error)

    def _page(self, _: Child) -> Iterator[Step]:
        yield PAGE_SECONDS, events.PageMade(error=self.page_fault)

    def _drill(self, _: Child) -> Iterator[Step]:
        yield DRILL_SECONDS, events.PassReport(result=PlaceResult(outcome=Outcome.SUCCEEDED))

    def _survey(self, _: Child) -> Iterator[Step]:
        yield 1.0, events.Surveyed()

    def _cluster(self, _: Child) -> Iterator[Step]:
        rows = [{"database": f"db-{number}", "address": "server-0:7687"} for number in range(10)]
        for event in events_with({COPIES: rows}):
            yield 0.0, event
        facts = {"seen": "2026-11-23T00:00:00Z", "versions": ["5.26.31"], "counts": {COPIES: len(rows)}}
        yield 1.0, events.TopologyTold.model_validate(facts)

    def _back_up(self, child: Child) -> Iterator[Step]:
        request, database = child.task["request"], child.task["database"]
        self.began[request] = self.now
        key = f"default/{database}/{database}-2026-11-23T{len(self.recorded) // 60:02}-{len(self.recorded) % 60:02}-00.backup"
        yield BACKUP_SECONDS, self._summary(database, key)
        yield (
            0.0,
            events.BackupReport(
                result=DatabaseResult(
                    outcome=Outcome.RECORDED,
                    type="FULL",
                    artifact=key,
                    size=7,
                    copies=dict.fromkeys(child.task["destinations"], CopyState.WAITING),
                )
            ),
        )

    def _summary(self, database: str, key: str) -> events.ChildEvent:
        self.recorded[key] = self.now + BACKUP_SECONDS
        facts = {
            "set": "default", "database": database, "artifacts": 1, "size": 7, "first": "2026-11-23T02:00:00Z",
            "newest": key, "newest_size": 7, "last_success": {}, "chain_links": 1, "chain_size": {},
            "owed": {place: len(self._missing(place, database)) for place in self.destinations},
        }  # fmt: skip
        return events.SummaryTold.model_validate({"summary": facts})

    def _missing(self, place: str, database: str | None = None) -> list[str]:
        return [key for key in self.recorded if key not in self.stored[place] and database in (None, key.split("/")[1])]

    def _copy(self, child: Child) -> Iterator[Step]:
        place = child.task["place"]
        does = self.destinations[place]
        looks = child.task["databases"]  # and at those of awaited artifacts
        awaited = {key.rpartition("/")[0] for key in child.task["awaited"]}
        missing = [
            key
            for key in self._missing(place)
            if self.recorded[key] <= self.now and (looks is None or key.rpartition("/")[0] in awaited.union(looks))
        ]
        copied, failure = 0, None
        for key in missing:
            if child.yields or failure is not None:
                break
            if does == "hangs":
                yield 1e9, events.CopyBegun(key=key, bytes=7)
            elif does == "refuses":
                failure = Failure(Reason.STORAGE_AUTH, "access denied")
            else:
                yield 0.0, events.CopyBegun(key=key, bytes=7)
                if does == "throttles":
                    yield 50.0, events.Progress(bytes=1, total=7)
                    failure = Failure(Reason.STORAGE_THROTTLED, "slow down")
                    continue
                self.stored[place][key] = self.now + COPY_SECONDS
                copied += 1
                yield COPY_SECONDS, events.CopyStored(key=key, type="FULL", bytes=7, seconds=COPY_SECONDS)
        for key in child.task["awaited"]:
            if key not in missing and key in self.stored[place]:
                yield 0.0, events.CopyStored(key=key)
        for database in {key.split("/")[1] for key in self.recorded}:
            if looks is not None and f"default/{database}" not in awaited.union(looks):
                continue
            owed = len(self._missing(place, database))
            yield 0.0, events.CopiesOwed(set="default", database=database, destination=place, owed=owed)
        yield (
            0.5,
            events.CopyReport(copied=copied, counted=looks is None, failure=failure, ended_early=failure is not None),
        )

    def _pass(self, _: Child) -> Iterator[Step]:
        yield PASS_SECONDS, events.PassReport(result=PlaceResult(outcome=Outcome.SUCCEEDED), next_seconds=3600.0)
