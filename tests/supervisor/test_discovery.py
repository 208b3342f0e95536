"""What the supervisor keeps of what the cluster told."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup_agent.core.reasons import Failure, Reason
from backup_agent.supervisor.discovery import Discovery

TOPOLOGY = {"seen": datetime(2026, 11, 23, tzinfo=UTC), "copies": ()}
SILENT = Failure(Reason.SOURCE_UNREACHABLE, "nobody answers")


def test_what_the_servers_clock_showed_outlives_their_silence(tmp_path: Path) -> None:
    known = Discovery(tmp_path)
    known.take({"event": "topology", "topology": TOPOLOGY, "clock_offset_seconds": 60.0}, 1.0)
    shown = datetime.now(UTC) + timedelta(seconds=60)
    known.fail(SILENT, 2.0)

    assert known.server_clock
    assert abs(known.server_clock.by(time.clock_gettime(time.CLOCK_BOOTTIME)) - shown) < timedelta(seconds=5)


def test_what_is_doubted_is_asked_again(tmp_path: Path) -> None:
    known = Discovery(tmp_path)
    known.fail(SILENT, 1.0)
    known.doubt()

    assert (known.asked, known.fresh(1.0)) == (False, False)
