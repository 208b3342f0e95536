"""The sessions of docs/tutorial.md and docs/playground.md, which are entered while `backup-agent demo --keep` runs.

`python -m tests.demo.session` writes the outputs of their commands anew.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.session import OUTPUT
from tests.polling import PATIENCE, until

PAGES = [Path(__file__).parents[2] / "docs" / name for name in ("tutorial.md", "playground.md")]
"""In the order in which they are entered, one after the other, in one playground."""

MASKS = {
    r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d": "STAMP",
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?([+-]\d\d(:?\d\d)?|Z)?": "TIME",
    r"\d{8}T\d{6,}Z(-[0-9a-f]+)?": "ID",
    r"cli@ID(-\d+)?": "ID",
    r"\b[0-9a-f]{8,}(-[0-9a-f]+)*\b": "ID",
    r"(\d+[dhms] ?)+( ago)?": "AGE",
    r"127\.0\.0\.1:\d+": "ADDRESS",
    "Europe/Berlin|America/New_York": "ZONE",
    "(?<=: )succeeded_with_warnings(?!\n)": "",
    "succeeded_with_warnings": "succeeded",
    r"\d+(\.\d+)?": "N",
    r" +": " ",
}
"""Pattern of text that differs each time -> what is compared instead."""


VARIES = r" *(running:|doctor|WARNING:|offsite has)"
"""Beginnings of lines that depend on timing: what runs now, and whether the agent already knows that a server is down."""


def masked(text: str) -> list[str]:
    """Return the lines of an output with the masks applied."""
    for pattern, word in MASKS.items():
        text = re.sub(pattern, word, text)
    return [line.strip() for line in text.strip().splitlines() if line.strip() and not re.match(VARIES, line)]


@contextmanager
def playground(folder: Path) -> Iterator[Path]:
    """Run `backup-agent demo --keep` until the block ends, then press Ctrl-C. Yield its folder."""
    argv = [sys.executable, "-m", "backup_agent", "demo", "--keep", "--dir", str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            output = ""
            while "/env' && backup-agent status" not in (line := process.stdout.readline()):
                output += line
                assert line, output
            yield folder
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def enter(folder: Path, line: str) -> str:
    """Enter a line in another terminal. Return its stdout, which does not contain progress."""
    environment = {**os.environ, "TZ": "UTC", "USER": "you"}
    script = f". {shlex.quote(str(folder / 'env'))}\n{line}"
    completed = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, env=environment, text=True, check=False)
    if name := re.search(r"> (backup-requests/.*)\.request$", line):
        until((folder / f"{name[1]}.status.json").exists, f"an answer to {name[1]}")
    return completed.stdout.replace(str(folder), "/tmp/playground")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made, playground(Path(made) / "playground") as here:

        def shown(found: re.Match[str]) -> str:
            """Return a command and its output as the page shows them."""
            lines = [f"$ {found['command']}", *enter(here, found["command"]).rstrip("\n").split("\n")]
            return "".join(f"    {line}".rstrip() + "\n" for line in lines if line)

        for page in PAGES:
            page.write_text(OUTPUT.sub(shown, page.read_text()))
