"""An agent under load, all processes of which are killed at random moments, again and again. Nothing may be lost.

Requests of every kind are dropped, a schedule fires, copies go to a real S3 server, retention follows each success.
After each death everything is looked at from outside (tests/jobs/outside.py); the same seed gives the same run, except for
what the machine does in between. Beside the agent, another program may forge objects in its bucket and on its volume
(tests/agent/forger.py).
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from threading import Event
from typing import Any, Self

from tests.agent.forger import Forger
from tests.agent.live import FINAL, Live
from tests.components.seaweedfs import BUCKET, KEYS, SeaweedFS
from tests.jobs.outside import begun, faults, of_bucket, of_folder, records
from tests.polling import PATIENCE, until

DECLARED = ("default", "other")
DATABASES = ("orders", "neo4j")
NEWEST = 3
"""Number of restore points that the policy keeps of each database."""

OPEN = 8
"""Largest number of open requests. More would only wait longer."""

LAST = 50
"""Number of final answers that are read again later."""

SETTLE = 240.0

ENDED = "ended"
"""A child whose end the supervisor has not noticed."""

MOMENTS = ("young", "ready", "answered", "pruning")
"""When the agent is killed: during its start, during its first tasks, after an answer, while retention is applied."""

PRUNED_WITHIN = 6.0
"""Longest time in seconds until retention begins, which is due at each start."""

PRUNING = 0.6
"""Longest time in seconds between the begin of retention and the kill."""

WORKING = 2.0
"""Longest time between start and kill, as a multiple of the duration of the start."""

AFTERWARDS = 1.5
"""Longest time in seconds between an answer and the kill, in which copies and retention are under way."""


MEMORY = 100
"""Limit in MiB for each process of the agent. The largest, a copy or a pass with its S3 client, needs 65."""


@dataclass
class Figures:
    """The numbers of a run."""

    kills: int = 0
    dropped: int = 0
    states: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    """Module of a killed process, or neo4j-admin -> how often it was killed."""
    recorded: int = 0
    copied: int = 0
    deleted: int = 0
    forged: int = 0
    """Number of objects that another program has written."""
    memory: float = 0
    """Largest memory of a process of the agent in MiB."""
    faults: list[str] = field(default_factory=list)

    def __add__(self, other: "Figures") -> "Figures":
        both = {name: getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__}
        return Figures(**both | {"memory": max(self.memory, other.memory)})

    def __str__(self) -> str:
        answers, killed = (
            ", ".join(f"{count} {what}" for what, count in sorted(counted.items()))
            for counted in (self.states, self.killed)
        )
        return (
            f"{self.kills} kills (with them {killed}); {self.dropped} requests ({answers}); {self.recorded} artifacts "
            f"recorded, {self.copied} copied, {self.deleted} of both deleted; {self.forged} objects forged; at most "
            f"{self.memory:.0f} MiB; {len(self.faults)} faults"
        )


class Storm:
    """One agent, its cluster and its folders. Use as a context manager."""

    def __init__(self, folder: Path, server: SeaweedFS, seed: int, *, forged: bool = False) -> None:
        self.random = Random(seed)
        self.live = Live(folder)
        self.client = server.client()
        self.prefix = f"{folder.parent.name}-{folder.name}-{seed}"
        policy = {"last": NEWEST, "max_delete_share": 1}
        self.live.settings |= {
            "sets": list(DECLARED),
            "retention": policy,
            "schedules": {"often": {"cron": "* * * * *", "type": "DIFF", "databases": ["orders"]}},
            "limits": {"keep_adhoc": "30s", "parallel": 2, "keep_unrecognised": "10s"},
            "log": {"format": "json", "level": "info"},
        }
        self.live.settings["storage"]["destinations"] = {
            "offsite": {"type": "s3", **server.place(self.prefix), "retention": policy}
        }
        self.live.environ = dict(KEYS)
        self.figures = Figures()
        self.startup = 1.0
        """Seconds that the last complete start took."""
        self.open: dict[str, str] = {}
        """Id -> name of each request without a final answer."""
        self.holds: dict[str, dict[str, str]] = {"hold": {}, "release": {}}
        """Action -> id -> artifact, of the requests for holds without a final answer."""
        self.held: set[str] = set()
        """Artifacts whose hold was answered, and whose release was not requested."""
        self.final: dict[str, bytes] = {}
        self.seen: dict[str, dict[str, bytes]] = {"local": {}, "offsite": {}}
        """Place -> every record that was ever there."""
        self.etags: dict[str, bytes] = {}
        place = f"{self.prefix}/demo"
        self.forger = Forger(self.random, self.live.root, self.client, place) if forged else None
        self.spoilt: dict[str, set[str]] = {"local": set(), "offsite": set()}
        """Place -> genuine artifacts that the other program has ever replaced there."""
        self.gone: dict[str, set[str]] = {"local": set(), "offsite": set()}
        """Place -> artifacts whose deletion the audit log explains."""

    def __enter__(self) -> Self:
        self.live.__enter__()
        self.live.requests.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.__exit__()
        for key in of_bucket(self.client, BUCKET, self.prefix, self.etags, hidden=True):
            self.client.delete_object(Bucket=BUCKET, Key=f"{self.prefix}/{key}")

    def run(self, kills: int, enough: Event) -> Figures:
        """Kill the agent a number of times, or until `enough` returns true. Then let it finish its work."""
        if self.forger is not None:
            self.fill()
        for _ in range(kills):
            if enough.is_set():
                break
            self.live.start(ready=False)
            self.work(self.random.choices(MOMENTS, (4, 4, 1, 1))[0])
            self.live.signal(signal.SIGSTOP)
            alive = (*self.alive(), *self.unread())
            self.figures.killed.update(alive)
            self.live.kill_all()
            self.live.reader.join(timeout=5)
            self.live.text.clear()
            self.figures.kills += 1
            self.look(pruning=not {"prune", ENDED}.isdisjoint(alive))
            if self.figures.faults:
                return self.figures
            self.forge()
        self.settle()
        return self.figures

    def work(self, until_it_is: str) -> None:
        """Let the agent work until a random moment of a kind."""
        begun_at = time.monotonic()
        if until_it_is == "young":
            self.load(self.startup * self.random.random())
            return
        self.load(PATIENCE, lambda: self.live.port is not None)
        self.startup = time.monotonic() - begun_at
        if until_it_is == "pruning":
            self.load(PRUNED_WITHIN, lambda: "prune" in self.alive())
            self.load(PRUNING * self.random.random())
        elif until_it_is == "answered":
            before = self.answers()
            self.load(PATIENCE, lambda: self.answers() > before)
            self.load(AFTERWARDS * self.random.random())
        else:
            self.load(WORKING * self.startup * self.random.random())

    def load(self, seconds: float, until_it_is: Callable[[], bool] = lambda: False) -> None:
        """Drop requests for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not until_it_is():
            if len(self.open) < OPEN and self.random.random() < 0.4:
                self.drop()
            if self.forger is not None and self.random.random() < 0.1:
                self.forger.plant(self.seen)
            assert self.live.process is not None
            with suppress(subprocess.TimeoutExpired):
                self.live.process.wait(min(left, 0.1 * self.random.random()))

    def answers(self) -> int:
        """Return the number of open requests that have a final answer."""
        states = (self.answer(identity) for identity in self.open)
        return sum(json.loads(answer)["state"] in FINAL for answer in states if answer)

    def drop(self) -> None:
        """Drop one request of a random kind."""
        number = self.figures.dropped
        identity = f"k-{number:05}"
        asked = self.random.choices(
            (
                {"type": self.random.choice(("FULL", "DIFF", "AUTO")), "database": self.random.choice(DATABASES)},
                {"type": "FULL", "path": "other", "database": "orders"},
                {"type": "FULL", "path": f"adhoc-{number % 3}", "database": "neo4j"},
                {"action": "prune"},
                {"action": "verify", "place": self.random.choice(("local", "offsite"))},
                {"action": "hold", "artifact": self.any_artifact(self.seen["local"]), "reason": "storm"},
                {"action": "release", "artifact": self.any_artifact(self.held), "reason": "storm"},
                {"type": "WRONG"},
            ),
            (12, 3, 2, 3, 1, 1, 3, 1),
        )[0]
        if "database" in asked:
            self.live.change(lambda cluster: cluster.with_transactions(str(asked["database"]), 2))
        action = str(asked.get("action"))
        if action in self.holds:
            artifact = str(asked["artifact"])
            if any(artifact in waiting.values() for waiting in self.holds.values()):
                return  # the order of the two requests is not defined
            self.holds[action][identity] = artifact
            if action == "release":
                self.held.discard(artifact)
        name = f"{identity}.request"
        self.open[identity] = name
        (self.live.requests / name).write_text(json.dumps({"id": identity, **asked}))
        self.figures.dropped += 1

    def any_artifact(self, known: Collection[str]) -> str:
        """Return the key of one of these artifacts, or of one that does not exist."""
        return self.random.choice([*sorted(known)[-6:], "default/orders/orders-2026-01-01T00-00-00.backup"])

    def alive(self) -> Iterator[str]:
        """Yield the names of the agent's running processes."""
        for pid in self.live.processes():
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                if "-m" not in words:
                    yield "neo4j-admin"
                    continue
                peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
                self.figures.memory = max(self.figures.memory, int(peak[1]) / 1024 if peak else 0)
                yield words[words.index("-m") + 1].rpartition(".")[2]

    def unread(self) -> Iterator[str]:
        """Yield ENDED if a child has ended and the stopped supervisor has not noticed: its last events are not logged."""
        assert self.live.process is not None
        children = Path(f"/proc/{self.live.process.pid}/task/{self.live.process.pid}/children")
        for pid in children.read_text().split():
            with suppress(OSError):
                if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                    yield ENDED

    # Another program

    def fill(self) -> None:
        """Take one point more than retention keeps, among forged objects, and let retention delete the oldest."""
        assert self.forger is not None
        self.forger.begin()
        self.live.start()
        for number in range(NEWEST + 1):
            second = int(time.time())
            self.live.ask(f"first-{number}", type="FULL", database="orders")
            until(partial(_passed, second), "another second")  # artifacts are named by it
        self.live.ask("first-prune", action="prune")
        self.live.end()
        self.look(pruning=False)

    def forge(self) -> None:
        """Let the other program replace genuine objects, or put them back, while the agent is dead."""
        if self.forger is None:
            return
        there = {place: self.forger.without_forged(place, self.files(place)) for place in self.seen}
        for place in self.seen:
            if self.random.random() < 0.5:
                self.forger.put_back(place, self.files(place))
            if self.random.random() < 0.5:
                self.forger.replace(place, there[place])
            self.spoilt[place] |= {key.removesuffix(".json") for key in self.forger.hands[place].replaced}
        if self.random.random() < 0.5:
            self.forger.move_out()
            self.forger.squat(there["local"], self.files("offsite"))
        self.figures.forged = self.forger.number

    def undo(self) -> None:
        """Let the other program undo changes that make artifacts unreadable or prevent copies."""
        if self.forger is not None:
            for place in self.seen:
                self.forger.put_back(place, self.files(place))
            self.forger.move_out()

    # Checks from outside, while no process runs

    def look(self, *, pruning: bool) -> None:
        """Note every fault. `pruning`: artifacts may have been deleted whose lines in the log are not written yet."""
        self.figures.faults += self.faults_of_answers(at_rest=True)
        if not self.live.root.exists():
            return
        for place in self.seen:
            files = self.files(place)
            if self.forger is not None:
                self.figures.faults += [f"{place}: {fault}" for fault in self.forger.faults(place, files)]
                files = self.forger.without_forged(place, files)
            self.figures.faults += [f"{place}: {fault}" for fault in self.faults_at(place, files, pruning=pruning)]

    def files(self, place: str) -> dict[str, bytes]:
        """Return the files at a place, forged ones included."""
        if place == "local":
            return of_folder(self.live.root)
        return of_bucket(self.client, BUCKET, f"{self.prefix}/demo", self.etags)

    def faults_at(self, place: str, files: dict[str, bytes], *, pruning: bool) -> Iterator[str]:
        """Yield the faults at a place: records without data, broken chains, changed records, missing restore points.

        `files` are the genuine files.
        """
        yield from faults(files, ours=begun(self.live.root, place), strangers={})
        seen, found = self.seen[place], records(files)
        yield from self.faults_of_deletions(place, {*found}, pruning=pruning)
        for key in found:
            content = files[f"{key}.json"]
            if seen.setdefault(key, content) != content:
                yield f"{key}: its record has changed"
        if place == "local":
            yield from (f"{key}: held, and gone" for key in sorted(self.held) if key not in found)
        newest: dict[str, list[str]] = {}
        for key in sorted((key for key in seen if key.split("/")[0] in DECLARED), key=_taken):
            newest.setdefault(key.rpartition("/")[0], []).append(key)
        for keys in newest.values():
            kept = (key for key in keys[-NEWEST:] if not self.was_spoilt(place, key))
            yield from (f"{key}: one of the newest {NEWEST}, and gone" for key in kept if key not in found)

    def faults_of_deletions(self, place: str, found: set[str], *, pruning: bool) -> Iterator[str]:
        """Yield the artifacts that are missing although the log does not say why, and the forged ones that it names."""
        reported = {line["key"] for line in self.live.events("artifact deleted") if line["place"] == place}
        if self.forger is not None:
            yield from (
                f"{key}: forged, and deleted" for key in sorted(reported & self.forger.hands[place].planted.keys())
            )
        gone = self.seen[place].keys() - found - self.gone[place]
        self.gone[place] |= gone | reported
        unexplained = gone - reported - {name.removesuffix(".json") for name in begun(self.live.root, place)}
        if not pruning:
            yield from (f"{key}: gone, and no line of the log says why" for key in sorted(unexplained))

    def was_spoilt(self, place: str, key: str | None) -> bool:
        """Return whether an artifact, or one that it needs, was ever replaced at a place."""
        while key is not None and key in self.seen[place]:
            if key in self.spoilt[place]:
                return True
            key = json.loads(self.seen[place][key])["parent"]
        return False

    def faults_of_answers(self, *, at_rest: bool) -> Iterator[str]:
        """Yield final answers that have changed, and, if the agent has finished its work, lost requests."""
        for identity, name in list(self.open.items()):
            answer = self.answer(identity)
            state = json.loads(answer)["state"] if answer else ""
            if state in FINAL:
                self.figures.states[state] += 1
                self.final[identity] = answer
                del self.open[identity]
                held = self.holds["hold"].pop(identity, None)
                self.holds["release"].pop(identity, None)
                if held and "local" in json.loads(answer)["marks"]:
                    self.held.add(held)
            elif at_rest and not ((self.live.requests / name).exists() or self.in_spool(identity)):
                yield f"{identity}: lost"
        for identity, content in self.final.items():
            if self.answer(identity) != content:
                yield f"{identity}: was answered twice"
        while len(self.final) > LAST:
            self.final.pop(next(iter(self.final)))

    def answer(self, identity: str) -> bytes:
        """Return the answer beside a request. Rejected requests have no id."""
        try:
            return (self.live.requests / f"{identity}.status.json").read_bytes()
        except FileNotFoundError:
            return b""

    def in_spool(self, identity: str) -> bool:
        spool = self.live.requests / ".spool"
        return any(identity in path.name for path in spool.rglob(f"*{identity}*"))

    def settle(self) -> None:
        """Let the agent work until everything is answered. Then check for the last time."""
        self.undo()
        self.live.settings["schedules"] = {}
        self.live.start()
        with suppress(AssertionError):
            until(lambda: self.look_for_answers() and not self.live.open_entries(), "last answers", SETTLE)
        self.figures.faults += [f"{identity}: never answered" for identity in self.open]
        if (code := self.live.end()) != 0:
            self.figures.faults.append(f"it ended with {code}")
        self.look(pruning=False)
        self.figures.faults += self.faults_of_lists()
        staging = self.live.root / ".staging"
        self.figures.faults += [f"{path}: left behind" for path in staging.iterdir()] if staging.exists() else []
        self.figures.faults += [f"{entry}: left open" for entry in self.live.open_entries()]
        here, there = (set(self.seen[place]) for place in ("local", "offsite"))
        self.figures.recorded, self.figures.copied = len(here), len(there)
        self.figures.deleted = sum(map(len, self.gone.values()))
        if self.figures.memory > MEMORY:
            self.figures.faults.append(f"a process needed {self.figures.memory:.0f} MiB")

    def faults_of_lists(self) -> Iterator[str]:
        """Yield where `backup-agent list` takes a forged artifact for a restore point, or lacks a genuine one."""
        for place in self.seen:
            files = self.files(place)
            genuine = {*records(self.forger.without_forged(place, files) if self.forger else files)}
            listed = {one["key"]: one["fault"] for one in self.listed(place)}
            yield from (
                f"{place}: {key}: forged, and listed"
                for key in sorted(listed)
                if not listed[key] and key not in genuine
            )
            for key in sorted(genuine):
                if listed.get(key, "not listed") and not self.was_spoilt(place, key):
                    yield f"{place}: {key}: {listed.get(key, 'not listed')}"

    def listed(self, place: str) -> list[dict[str, Any]]:
        """Return what `backup-agent list` shows of a place."""
        words = (
            sys.executable,
            "-m",
            "backup_agent",
            "list",
            "--json",
            "--place",
            place,
            "--config",
            str(self.live.config),
        )
        completed = subprocess.run(words, env={**os.environ, **self.live.environ}, capture_output=True, check=False)
        found: list[dict[str, Any]] = json.loads(completed.stdout)["artifacts"]
        return found

    def look_for_answers(self) -> bool:
        self.figures.faults += self.faults_of_answers(at_rest=False)
        return not self.open or bool(self.figures.faults)


def _passed(second: int) -> bool:
    return int(time.time()) > second


def _taken(key: str) -> str:
    return key.removesuffix(".backup")[-19:]


def storm(
    folder: Path, server: SeaweedFS, seed: int, kills: int, enough: Event | None = None, *, forged: bool = False
) -> Figures:
    """Make one run. Remove its folder if there was no fault."""
    if enough is not None and enough.is_set():
        return Figures()
    with Storm(folder, server, seed, forged=forged) as one:
        try:
            figures = one.run(kills, enough or Event())
        except AssertionError as error:  # the agent does not start, or does not end
            figures = one.figures
            figures.faults.append(str(error))
    if not figures.faults:
        shutil.rmtree(folder)
    return figures
