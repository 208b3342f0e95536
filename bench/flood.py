"""Measure the time until 10,000 requests dropped at once are answered, with a SIGKILL half way.

Run by hand: `python bench/flood.py [--files 10000]`. Nine of ten requests are invalid in one of seven ways; the others
repeat twenty ids and name databases that do not exist, so no backup is taken. The target is two minutes. Exits with 1
if the target is missed, a request is lost, or a request is answered twice.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.agent import flood
from tests.agent.live import Live

TARGET = 120.0
HZ = os.sysconf("SC_CLK_TCK")


def cpu_seconds(live: Live) -> float:
    assert live.process is not None
    fields = Path(f"/proc/{live.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / HZ


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    count = parser.parse_args().files
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start")
    with tempfile.TemporaryDirectory() as folder, Live(Path(folder) / "agent") as live:
        live.start()
        begun = time.monotonic()
        flood.drop(live, count)
        print(f"dropped          {time.monotonic() - begun:7.1f} s")
        while flood.undecided(live, count) > count / 2:
            time.sleep(0.5)
        before = cpu_seconds(live)
        print(f"killed           {time.monotonic() - begun:7.1f} s, {flood.undecided(live, count)} requests unanswered")
        live.kill()
        live.start()
        while flood.undecided(live, count):
            time.sleep(0.5)
        taken = time.monotonic() - begun
        cpu = before + cpu_seconds(live)
        print(f"all answered     {taken:7.1f} s (target {TARGET:.0f} s), {cpu:.1f} s of CPU in the supervisor")
        while "open" in (states := flood.tally(live, count)):
            time.sleep(0.5)
        print(f"all final        {time.monotonic() - begun:7.1f} s: {dict(states)}")
        faults = flood.faults(live, count)
    print("\n".join(faults) or "no request lost, none answered twice")
    return 1 if faults or taken > TARGET else 0


if __name__ == "__main__":
    raise SystemExit(main())
