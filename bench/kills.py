"""Ten thousand random kills under load: requests lost, records without their artifact, kept points that are broken.

Run by hand: `python bench/kills.py [--kills 10000] [--seed 0] [--agents 2] [--each 50]`. Agents live side by side, each
in a folder of its own with a real S3 server, and every process of one is killed at once, at a random moment of its
start, of its work, or after an answer. After `--each` kills it comes to rest, and everything must be answered. A line
an agent; its seed makes that one again by `--kills 50 --seed SEED`. SIGTERM or ^C ends it with the figures so far.
It ends with 1 where anything was found.
"""

import argparse
import os
import platform
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.agent.kills import Figures, storm
from tests.components.seaweedfs import SeaweedFS

SHOWN = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first agent; the next has the next")
    parser.add_argument("--agents", type=int, default=2, help="how many live at a time")
    parser.add_argument("--each", type=int, default=50, help="kills until an agent comes to rest")
    chosen = parser.parse_args()
    print(
        f"CPython {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"seed {chosen.seed}",
        flush=True,
    )
    whole, started = Figures(), time.perf_counter()
    enough = Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: enough.set())
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(chosen.agents) as pool:
        folder = Path(name)
        (folder / "seaweedfs").mkdir()
        server = SeaweedFS(folder / "seaweedfs").start()
        try:
            seeds = {}
            for number, done in enumerate(range(0, chosen.kills, chosen.each)):
                seed, kills = chosen.seed + number, min(chosen.each, chosen.kills - done)
                seeds[pool.submit(storm, folder / f"seed-{seed}", server, seed, kills, enough)] = seed
            for future in as_completed(seeds):
                figures = future.result()
                whole += figures
                if not figures.kills:
                    continue
                print(f"seed {seeds[future]}: {figures}", *figures.faults[:SHOWN], sep="\n    ", flush=True)
                if whole.kills % (chosen.each * 10) == 0:
                    print(f"so far: {whole}; {time.perf_counter() - started:.0f} s", flush=True)
        finally:
            enough.set()
            pool.shutdown()
            server.stop()
    print(f"{whole}; {time.perf_counter() - started:.0f} s")
    return 1 if whole.faults else 0


if __name__ == "__main__":
    sys.exit(main())
