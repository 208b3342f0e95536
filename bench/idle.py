"""Memory and processor of the idle supervisor, with everything live: schedules, watch, HTTP, one backup behind it.

Run by hand: `python bench/idle.py [--seconds 60] [--scrape 15]`. Processor time is the kernel's own count for the
process, so a busy machine changes it little. `--scrape` reads /metrics and /livez meanwhile, as Prometheus and a
kubelet do.
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
    """A process's memory in MiB, and its threads."""

    rss: float
    pss: float
    private: float
    peak: float
    threads: int

    @classmethod
    def of(cls, pid: int) -> "Memory":
        """Read it from /proc (proc(5))."""
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
    """Return the share of a processor used over a time, and the memory at its end."""
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
    parser.add_argument("--scrape", type=float, default=0, help="seconds between scrapes meanwhile; 0 is none")
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
        print(f"one backup, /metrics {page} bytes, then {chosen.seconds:g} s idle, {scraped}")
        print(
            f"RSS {memory.rss:.1f} MiB (target 45), PSS {memory.pss:.1f}, private {memory.private:.1f}, "
            f"peak {memory.peak:.1f}, at its start {start.rss:.1f}; {memory.threads} threads"
        )
        print(f"processor {share * 100:.3f} % of a core (target 0.1)")


if __name__ == "__main__":
    main()
