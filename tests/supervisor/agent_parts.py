"""The parts of an agent for tests in which no process is started and no loop runs."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from backup_agent.core.status import Status
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor import snapshot
from backup_agent.supervisor.parts import Parts
from backup_agent.supervisor.status.metrics import Metrics


class AgentParts:
    """A requests folder, and the parts of an agent that has not surveyed its volume yet."""

    def __init__(self, folder: Path, *destinations: str) -> None:
        self.requests = folder / "requests"
        root = folder / "root"
        root.mkdir()
        self.config = folder / "config.yaml"
        places = {name: {"type": "s3", "bucket": name} for name in destinations}
        storage = {"root": str(root), "destinations": places}
        settings = {"cluster": "demo", "requests": {"folder": str(self.requests)}, "storage": storage}
        self.config.write_text(yaml.safe_dump({**settings, "neo4j": {"uri": "neo4j://demo:7687"}}))
        self.parts = self.parts_again()

    def parts_again(self) -> Parts:
        """Return the parts of an agent that has just started: they know only what is in the folders."""
        parts = Parts(Reloader(self.config, {}), lambda _: None, Metrics(_no_status))
        parts.spool.prepare()
        parts.maintenance.take_settings(surveyed=False)
        return parts

    def forbid(self, *keys: str) -> None:
        """Change `requests.allow` while the agent runs."""
        settings = yaml.safe_load(self.config.read_text())
        settings["requests"]["allow"] = dict.fromkeys(keys, False)
        self.config.write_text(yaml.safe_dump(settings))
        assert self.parts.reloader.check() is not None

    def ask(self, identity: str, file: str | None = None, **request: Any) -> None:
        """Drop a request and let the agent take it."""
        name = file or identity
        content = {"id": identity, **request}
        (self.requests / f"{name}.request").write_text(json.dumps(content))
        self.parts.intake.take_dropped(0.0)

    def answer(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.requests / f"{name}.status.json").read_text())
        return content

    def status(self, now: datetime) -> Status:
        return snapshot.status(self.parts, snapshot.LoopFacts(started=now, settings_loaded=now), now, 0.0)

    def metric(self, name: str, now: datetime) -> float | None:
        """Return the value of a metric without labels, or None if it is absent."""
        page = Metrics(lambda: self.status(now)).page()[1].decode()
        samples = [one for family in text_string_to_metric_families(page) for one in family.samples if one.name == name]
        return samples[0].value if samples else None


def _no_status() -> Status:
    raise TimeoutError
