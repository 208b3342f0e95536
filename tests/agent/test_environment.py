"""The environments of the real children while the agent works."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tests.agent.live import PASSWORD, Live
from tests.components.seaweedfs import ADMIN, SeaweedFS

BOLT = frozenset({"NEO4J_PASSWORD"})
CLOUD = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "VAULT_TOKEN"})
NOTHING: frozenset[str] = frozenset()
SETTING = "BACKUP_AGENT_CHAIN__MAX_LINKS"


def test_no_process_has_a_secret_that_it_does_not_need(live: Live, seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    seen = tmp_path / "environments"
    seen.mkdir()
    live.settings["storage"]["destinations"] = {"offsite": {**seaweedfs.place(tmp_path.name), "retention": {"last": 1}}}
    live.settings["neo4j"].pop("password_file")
    live.environ = {
        "AWS_ACCESS_KEY_ID": ADMIN.access_key,
        "AWS_SECRET_ACCESS_KEY": ADMIN.secret_key,
        "VAULT_TOKEN": "x",
        "NEO4J_PASSWORD": PASSWORD,
        SETTING: "7",
        "ENVIRONMENTS": str(seen),
        "PYTHONPATH": str(Path(__file__).with_name("environments")),
    }
    live.by_command = True
    live.start()
    assert live.ask(database="orders")["databases"]["orders"]["copies"] == {"offsite": "stored"}
    assert live.ask("p", action="prune", place="offsite")["state"] == "succeeded"
    assert live.ask("v", action="verify", place="local")["state"] == "succeeded"
    assert live.ask("w", action="verify", place="offsite")["state"] == "succeeded"
    assert live.end() == 0

    found: dict[str, set[frozenset[str]]] = {}
    started: Counter[str] = Counter()
    for path in seen.iterdir():
        one = json.loads(path.read_text())
        started[_program(one)] += 1
        found.setdefault(_program(one), set()).add(frozenset(one["names"]) & (BOLT | CLOUD | {SETTING}))
    assert found.pop("supervisor") == {BOLT | CLOUD | {SETTING}}
    assert found == {
        "backup_agent.cluster": {BOLT},
        "backup_agent.jobs.survey": {NOTHING},
        "backup_agent.jobs.backup": {NOTHING},
        "backup_agent.jobs.destination": {CLOUD},
        "backup_agent.jobs.prune": {NOTHING},
        "backup_agent.jobs.verify": {NOTHING},
    }
    assert started["backup_agent.jobs.destination"] == 1  # the child for copies, retention and verification there


def _program(one: dict[str, Any]) -> str:
    """Return the module that a process runs; the command line becomes the supervisor."""
    argv: list[str] = one["argv"]
    module = argv[argv.index("-m") + 1]
    return "supervisor" if module in {"backup_agent", "backup_agent.supervisor"} else module
