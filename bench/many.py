"""Measure pages, the process of the status page, and commands, with many databases and records: time and memory.

Run by hand: `python bench/many.py [--records 100000] [--databases 1000] [--volume DIR]`. `--volume` names a folder to
keep the records in; a run that finds it uses them. The agent surveys the volume; then each page is fetched several
times, and each command runs once. The processor time of a page is that of the supervisor, which makes it.
"""

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from backup_agent.core.page.task import FILE
from backup_agent.settings.load import load
from bench.machine import machine, options, processor_seconds, python, running
from bench.start import fill, memory
from tests.agent.live import Live

ROOT = Path(__file__).parents[1]
ROUNDS = 5
MEASURE = """
import os, sys, time
begun = time.monotonic()
out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
to_file = [(os.POSIX_SPAWN_DUP2, out, 1)]
_, status, usage = os.wait4(os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ, file_actions=to_file), 0)
print(time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small program that starts the measured one: the peak memory of a child includes its parent's at the fork."""


def fetched(port: int | None, path: str) -> bytes:
    """Return a page of the agent."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", path)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    if reply.status != http.client.OK:
        raise SystemExit(f"{path}: HTTP {reply.status}: {content[:200]!r}")
    return content


def page(pid: int, port: int | None, path: str) -> None:
    """Fetch a page several times, and print what it costs."""
    walls, used = [], processor_seconds(pid)
    for _ in range(ROUNDS):
        begun = time.monotonic()
        content = fetched(port, path)
        walls.append(time.monotonic() - begun)
    used, lines = (processor_seconds(pid) - used) / ROUNDS, len(content.splitlines())
    print(
        f"{path:28} {used:6.2f} CPU s, {statistics.median(walls):6.2f} s, {len(content) / 1e6:6.2f} MB, "
        f"{lines:7} lines; supervisor {memory(pid, 'VmRSS'):5.1f} MiB, peak {memory(pid, 'VmHWM'):5.1f}"
    )


def command(interpreter: Path, config: Path, folder: Path, *words: str) -> None:
    """Run a command, and print what it costs."""
    out = folder / "out"
    argv = (str(interpreter), "-m", "backup_agent", *words, "--config", str(config))
    completed = subprocess.run(
        (sys.executable, "-I", "-S", "-c", MEASURE, str(out), *argv),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )
    wall, cpu, peak = map(float, completed.stdout.split())
    size = out.stat().st_size / 1e6
    print(f"{' '.join(words):28} {cpu:6.2f} CPU s, {wall:6.2f} s, {size:6.2f} MB; peak {peak:5.1f} MiB")


def status_page(interpreter: Path, live: Live, folder: Path) -> None:
    """Make the status page by its child process, and print what it costs."""
    task = {"settings": load(live.config, {}).settings.model_dump(mode="json")}
    content = json.dumps(task | {"status": json.loads(fetched(live.page_port, "/status.json"))}).encode()
    argv = (sys.executable, "-I", "-S", "-c", MEASURE, str(folder / "out"), str(interpreter), "-m")
    with subprocess.Popen(
        (*argv, "backup_agent.jobs.page"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise TypeError("it is started with pipes")
        process.stdin.write(content.decode() + "\n")
        process.stdin.flush()
        wall, cpu, peak = map(float, process.stdout.read().split())  # at the end of its stdin the process would end
    size = (live.root / FILE).stat().st_size / 1e6
    print(f"{'the status page':28} {cpu:6.2f} CPU s, {wall:6.2f} s, {size:6.2f} MB; peak {peak:5.1f} MiB")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--databases", type=int, default=1000)
    parser.add_argument("--volume", type=Path, help="a folder to keep the records in")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-many-") as name:
        folder = Path(name)
        interpreter = python(chosen, folder)
        volume = chosen.volume or folder / "volume"
        if not volume.exists():
            fill(volume, chosen.records, chosen.databases)
        live = Live(folder / "agent")
        live.root = volume
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        live.write_settings(
            storage={"root": str(volume)}, schedules={}, http={**live.settings["http"], "page": address}
        )
        with running(live, interpreter) as pid:
            print(machine(interpreter))
            print(f"{chosen.records} records of {chosen.databases} databases")
            print(f"supervisor before the first page: {memory(pid, 'VmRSS'):.1f} MiB")
            page(pid, live.port, "/metrics")
            page(pid, live.page_port, "/status.json")
            status_page(interpreter, live, folder)
            for words in (("status",), ("list", "--database", "db001"), ("list",), ("list", "--json")):
                command(interpreter, live.config, folder, *words)


if __name__ == "__main__":
    main()
