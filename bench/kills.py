"""Count lost requests, records without artifacts and broken restore points after 10,000 random kills under load.

Run by hand: `python bench/kills.py [--kills 10000] [--seed 0] [--agents 2] [--each 50] [--forged]`. Several agents run
at the same time, each in its own folder, with a real S3 server. With `--forged`, another program writes forged and
oversized objects beside each of them. All processes of an agent are killed together at a random moment of its start,
during its work, or after an answer. After `--each` kills the agent runs until it is idle; then every request
must be answered. One line is printed for each agent; `--kills 50 --seed SEED` repeats it. SIGTERM or ^C ends the
benchmark with the figures so far. Exits with 1 if a fault was found.
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
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the first agent; each further agent has the next number"
    )
    parser.add_argument("--agents", type=int, default=2, help="number of agents at the same time")
    parser.add_argument("--each", type=int, default=50, help="kills of each agent")
    parser.add_argument(
        "--forged", action="store_true", help="another program writes forged and oversized objects beside each agent"
    )
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
                place = folder / f"seed-{seed}"
                seeds[pool.submit(storm, place, server, seed, kills, enough, forged=chosen.forged)] = seed
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
