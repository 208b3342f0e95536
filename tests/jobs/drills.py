"""Builders for tests of drills: volumes with artifacts of the neo4j-admin stand-in, and drills in this process."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from backup_agent.artifact.reading import read_through
from backup_agent.core.artifacts.records import BackupType, Record
from backup_agent.core.requests.events import ArtifactDrilled, PassReport
from backup_agent.core.requests.tasks import DrillTask
from backup_agent.jobs import drill
from backup_agent.jobs.event_writer import EventWriter
from backup_agent.settings.model import Settings
from backup_agent.standins import cluster
from backup_agent.standins.neo4j_admin import artifacts, install, stores, versions
from backup_agent.standins.neo4j_admin.artifacts import Entry
from tests.builders import settings_tree
from tests.catalog.places import filled

NODES = "neostore.nodestore.db"


@dataclass
class Drilled:
    """The events of a run of drills."""

    events: list[dict[str, Any]]

    @property
    def all(self) -> list[ArtifactDrilled]:
        return [ArtifactDrilled.model_validate(one) for one in self.events if one["event"] == "drilled"]

    @property
    def only(self) -> ArtifactDrilled:
        (one,) = self.all
        return one

    @property
    def result(self) -> PassReport:
        return PassReport.model_validate(self.events[-1])


@dataclass
class Vault:
    """A volume, and the simulated cluster whose artifacts are on it."""

    folder: Path
    version: str = "2026.09.0"
    databases: tuple[str, ...] = ("orders",)
    drill: dict[str, Any] = field(default_factory=dict)
    admin: bool = True
    """Whether the settings name the stand-in."""

    def __post_init__(self) -> None:
        for path in (self.world, self.root, self.scratch):
            path.mkdir(parents=True)
        cluster.save(cluster.three_servers(self.version, self.databases), self.world)
        self.program = install(self.world, self.world)

    @property
    def world(self) -> Path:
        return self.folder / "world"

    @property
    def root(self) -> Path:
        return self.folder / "backups"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    @property
    def tree(self) -> dict[str, Any]:
        """The settings, as a task carries them."""
        return settings_tree(
            neo4j={"uri": "bolt://nowhere:7687", **({"admin": str(self.program)} if self.admin else {})},
            storage={"root": str(self.root), "require_volume": "never"},
            drill={"scratch": str(self.scratch), "place": "local", **self.drill},
            schedules={},
        )

    def fault(self, *faults: dict[str, Any]) -> None:
        """Give the stand-in these faults (backup_agent/standins/neo4j_admin/faults.py)."""
        world = cluster.load(self.world)
        cluster.save(type(world)(**{**vars(world), "faults": faults}), self.world)

    def back_up(self, kind: str, clock: str, *, database: str = "orders", parent: Record | None = None) -> Record:
        """Take a backup with the stand-in's clock set to `clock`, and write its record."""
        (self.world / "clock").write_text(clock)
        if kind == "DIFF":
            cluster.save(cluster.load(self.world).with_transactions(database, 5), self.world)
        target = self.root / "default" / database
        target.mkdir(parents=True, exist_ok=True)
        before = set(target.glob("*.backup"))
        command = (str(self.program), "database", "backup", "--from=server-0:6362", f"--to-path={target}")
        subprocess.run((*command, f"--type={kind}", database), check=True, capture_output=True, timeout=120)
        (artifact,) = set(target.glob("*.backup")) - before
        return self.record(artifact, parent=parent)

    def damage_store(self, artifact: Path) -> None:
        """Put an inconsistent store into an artifact: six bytes of a node's record are 0xff. The checksums are right."""
        header = artifacts.read_header(artifact)
        entries = tuple(
            dataclasses.replace(one, blocks=partial(_damaged, one)) if one.name == NODES else one
            for one in stores.template(versions.parse(self.version), system=False).entries
        )
        with artifact.open("wb") as output:
            artifacts.write(output, header, entries)

    def record(self, artifact: Path, *, parent: Record | None = None, **header: Any) -> Record:
        """Write the record of an artifact. `header` are fields of the header that the record states wrongly."""
        reading = read_through(artifact)
        written_header = reading.header.model_copy(update=header)
        database = artifact.parent.name
        record = Record(
            key=f"default/{database}/{artifact.name}",
            cluster="demo",
            set="default",
            database=database,
            type=BackupType.FULL if written_header.full else BackupType.DIFF,
            type_reason="asked" if written_header.full else "chain_continues",
            parent=parent.key if parent is not None else None,
            header=written_header,
            files=reading.files,
            raw_size=reading.raw_size,
            request="nightly-1",
            started=written_header.taken,
            finished=written_header.taken,
        )
        return filled(self.root).add(record, files=False)

    def run(self, what: str | None = "orders", level: str = "check", **task: Any) -> Drilled:
        """Drill an artifact, or the newest one of a database, in this process. `task` are further fields of the task."""
        events: list[dict[str, Any]] = []
        given = {"run": "r-1", "place": "local", "what": what, "level": level, "evidence": "beside", **task}
        asked = DrillTask.model_validate({**given, "settings": self.tree})
        writer = EventWriter(lambda line: events.append(json.loads(line)))
        drill.perform(asked, Settings.model_validate(self.tree), writer, threading.Event())
        return Drilled(events)

    def command(self, *words: str) -> subprocess.Popen[str]:
        """Start `backup-agent drill` as a process of its own."""
        config = self.folder / "config.yaml"
        config.write_text(yaml.safe_dump(self.tree))
        command = [sys.executable, "-m", "backup_agent", "--config", str(config), "drill", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @property
    def programs(self) -> Iterator[int]:
        """Ids of the processes that have the marker of drills in this scratch folder in their environment."""
        for entry in os.scandir("/proc"):
            try:
                if (
                    entry.name.isdigit()
                    and f"drill:{self.scratch}".encode() in Path(entry.path, "environ").read_bytes()
                ):
                    yield int(entry.name)
            except OSError:
                continue

    @property
    def settings(self) -> Settings:
        return Settings.model_validate(self.tree)

    @property
    def left(self) -> list[str]:
        """Names of the files in the scratch folder."""
        return sorted(path.name for path in self.scratch.iterdir())


def _damaged(entry: Entry) -> list[bytes]:
    content = bytearray(b"".join(entry.blocks()))
    content[60:66] = b"\xff" * 6
    return [bytes(content)]
