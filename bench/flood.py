"""Ten thousand requests dropped at once, a SIGKILL in the middle: seconds until each has its answer.

Run by hand: `python bench/flood.py [--files 10000]`. Nine in ten are wrong in one of seven ways, the rest repeat twenty
ids that ask for databases which do not exist, so that no backup follows. Promised are two minutes. It checks that no
file is lost and none answered twice, and exits with 1 where that fails.
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

PROMISED = 120.0
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
        print(f"killed           {time.monotonic() - begun:7.1f} s, {flood.undecided(live, count)} files left")
        live.kill()
        live.start()
        while flood.undecided(live, count):
            time.sleep(0.5)
        taken = time.monotonic() - begun
        cpu = before + cpu_seconds(live)
        print(f"each has answer  {taken:7.1f} s ({PROMISED:.0f} promised), {cpu:.1f} s of CPU in the supervisor")
        while "open" in (states := flood.tally(live, count)):
            time.sleep(0.5)
        print(f"all are final    {time.monotonic() - begun:7.1f} s: {dict(states)}")
        faults = flood.faults(live, count)
    print("\n".join(faults) or "none lost, none twice")
    return 1 if faults or taken > PROMISED else 0


if __name__ == "__main__":
    raise SystemExit(main())
