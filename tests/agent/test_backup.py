"""A request becomes an artifact, a record and an answer."""

import hashlib

from tests.agent.live import Live


def test_the_predecessors_debug_command_takes_a_backup(live: Live) -> None:
    live.by_command = True
    live.start()
    answer = live.ask("backup", path=f"{live.root}/test", type="FULL", database="orders")

    assert answer["state"] == "succeeded", answer
    result = answer["databases"]["orders"]
    content = (live.root / result["artifact"]).read_bytes()
    assert result["sha256"] == {result["artifact"].rsplit("/", 1)[1]: hashlib.sha256(content).hexdigest()}
    assert (live.requests / "backup.status").read_text().strip() == "COMPLETED"
