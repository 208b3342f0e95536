"""Notes the processor time of each Python process that exits by itself, for `bench/night.py`.

Python imports `sitecustomize` by itself if this folder is on PYTHONPATH. ACCOUNTS names the file, which gets one line
for each process: its module and its processor seconds.
"""

import atexit
import os
import time
from itertools import pairwise
from pathlib import Path


def note(module: str) -> None:
    with Path(os.environ["ACCOUNTS"]).open("a") as file:
        file.write(f"{module} {time.process_time()}\n")


def install() -> None:
    words = Path("/proc/self/cmdline").read_bytes().decode().split("\0")
    module = next((after for before, after in pairwise(words) if before == "-m"), None)
    if module is None:
        return
    atexit.register(note, module)
    leave = os._exit

    def noted(code: int) -> None:
        note(module)
        leave(code)

    os._exit = noted  # type: ignore[assignment]  # discovery ends by it


if "ACCOUNTS" in os.environ:
    install()
