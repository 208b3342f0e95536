"""Compare the retention plan with an independent oracle in 1,000,000 generated cases with time zones and DST.

Run by hand: `python bench/retention.py [--cases 1000000] [--first 0] [--processes 2]`. Each case is generated from its
number. The numbers of cases that differ are printed; `--first NUMBER --cases 1` repeats one. CI runs the first 20,000.
"""

import argparse
import json
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.core.retention_cases import case, faults

BATCH = 1000


def check(first: int, end: int) -> tuple[dict[int, list[str]], float]:
    """Return the differences by case number, and the processor time in seconds."""
    started = time.process_time()
    found = {number: texts for number in range(first, end) if (texts := faults(case(number)))}
    return found, time.process_time() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    chosen = parser.parse_args()
    end = chosen.first + chosen.cases
    firsts = range(chosen.first, end, BATCH)
    print(
        f"CPython {platform.python_version()}, {chosen.processes} processes, load {os.getloadavg()[0]:.1f}", flush=True
    )
    started = time.perf_counter()
    with ProcessPoolExecutor(chosen.processes) as pool:
        results = list(pool.map(check, firsts, [min(first + BATCH, end) for first in firsts]))
    wrong = {number: texts for found, _ in results for number, texts in found.items()}
    processor = sum(used for _, used in results)
    print(
        f"{chosen.cases} cases, {len(wrong)} differ from the oracle; {time.perf_counter() - started:.0f} s, "
        f"{processor:.0f} s CPU, {chosen.cases / processor:.0f} cases a second of CPU"
    )
    print(json.dumps(dict(list(wrong.items())[:10]), indent=2) if wrong else "", end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
