"""Measure the memory and processor time of the idle supervisor with schedules, watch and HTTP, after one backup.

Run by hand: `python bench/idle.py [--seconds 60] [--scrape 15]`. The kernel counts the processor time of the process,
so other load has little influence. With `--scrape`, /metrics and /livez are requested at that interval, as Prometheus
and a kubelet do.
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.machine import machine, options, processor_seconds, python, running
from tests.agent.live import Live

OK = 200

SCHEDULES = {
    "nightly": {"cron": "0 2 * * *", "timezone": "Europe/Berlin", "type": "FULL"},
    "hourly": {"cron": "15 * * * *", "type": "DIFF", "databases": ["orders*"]},
}


@dataclass(frozen=True)
class Memory:
    """Memory of a process in MiB, and its number of threads."""

    rss: float
    pss: float
    private: float
    peak: float
    threads: int

    @classmethod
    def of(cls, pid: int) -> "Memory":
        """Read the memory of a process from /proc."""
        facts: dict[str, int] = {}
        for name in ("smaps_rollup", "status"):
            for line in Path(f"/proc/{pid}/{name}").read_text().splitlines():
                key, _, value = line.partition(":")
                if value.split() and value.split()[0].isdigit():
                    facts[key] = int(value.split()[0])
        rss, pss, private, peak = (facts[key] / 1024 for key in ("Rss", "Pss", "Private_Dirty", "VmHWM"))
        return cls(rss, pss, private, peak, facts["Threads"])


def get(live: Live, path: str) -> int:
    code, text = live.get(path)
    if code != OK:
        raise SystemExit(f"{path} answered {code}: {text}")
    return len(text)


def idle(live: Live, pid: int, seconds: float, scrape: float) -> tuple[float, Memory]:
    """Return the share of a processor that a process uses in `seconds`, and its memory afterwards."""
    used, begun = processor_seconds(pid), time.monotonic()
    while (left := begun + seconds - time.monotonic()) > 0:
        if scrape:
            get(live, "/metrics")
            get(live, "/livez")
        time.sleep(min(left, scrape or left))
    return (processor_seconds(pid) - used) / (time.monotonic() - begun), Memory.of(pid)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--settle", type=float, default=10, help="seconds between the backup and the measurement")
    parser.add_argument("--scrape", type=float, default=0, help="seconds between scrapes; 0 for none")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-idle-") as name:
        folder = Path(name)
        interpreter = python(chosen, folder)
        live = Live(folder / "world")
        live.write_settings(schedules=SCHEDULES, log={"format": "json", "level": "info"})
        with running(live, interpreter) as pid:
            start = Memory.of(pid)
            answer = live.ask("warm", database="orders", type="FULL", patience=120)
            if answer["state"] != "succeeded":
                raise SystemExit(f"the backup failed: {answer}")
            page = get(live, "/metrics")
            time.sleep(chosen.settle)
            share, memory = idle(live, pid, chosen.seconds, chosen.scrape)
        print(machine(interpreter))
        scraped = f"scraped every {chosen.scrape:g} s" if chosen.scrape else "not scraped"
        print(f"after one backup: /metrics {page} bytes, {chosen.seconds:g} s idle, {scraped}")
        print(
            f"RSS {memory.rss:.1f} MiB (target 45), PSS {memory.pss:.1f}, private {memory.private:.1f}, "
            f"peak {memory.peak:.1f}, at the start {start.rss:.1f}; {memory.threads} threads"
        )
        print(f"processor {share * 100:.3f} % of a core (target 0.1)")


if __name__ == "__main__":
    main()
