"""Each process and command imports the heavy modules of the table in `starts`, and no others."""

import os
import site
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup_agent.cli import main
from tests.starts import COMMANDS, HEAVY, PROCESSES, Start, world

ROOT = Path(__file__).parents[1]

ROW, LOADED = "import time:", "loaded:"
"""Beginnings of lines on stderr: of a row of `-X importtime`, and of the list of modules at the end."""

FIRST = f"""
import atexit, sys
sys.path[:0] = {[str(ROOT), *site.getsitepackages()]!r}
atexit.register(lambda: print("{LOADED}", *(n for n, found in sys.modules.items() if found), file=sys.stderr))
"""
"""Code that runs before a program. Python starts without `site`, so .pth files of the tests' packages add nothing."""


def imported(start: Start, environ: dict[str, str]) -> dict[str, str]:
    """Start a program. Return each module that it imports, with the modules by which it was imported."""
    completed = subprocess.run(
        (sys.executable, "-I", "-S", "-X", "importtime", "-c", FIRST + start.code, *start.arguments),
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = completed.stderr.splitlines()
    assert completed.returncode == 0, "\n".join(line for line in lines if not line.startswith(ROW))
    loaded = {name for line in lines if line.startswith(LOADED) for name in line.split()}
    found = paths(line.rpartition("|")[2] for line in lines if line.startswith(ROW))
    return {name: path for name, path in found if name in loaded}  # modules that are not installed have a row, too


def paths(rows: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Yield each module with the chain of modules by which it was imported. A module's row follows those that it imports."""
    above: list[tuple[int, str]] = []
    for row in reversed(list(rows)):
        name = row.strip()
        depth = len(row) - len(row.lstrip())
        above = [one for one in above if one[0] < depth]
        above.append((depth, name))
        yield name, " > ".join(one for _, one in above)


@pytest.fixture(name="environ", scope="module")
def _environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with world(tmp_path_factory.mktemp("starts")) as environ:
        yield environ


STARTS = {**{f"process {name}": one for name, one in PROCESSES.items()}, **COMMANDS}


@pytest.mark.parametrize("name", STARTS)
def test_a_start_imports_the_heavy_modules_of_the_table_and_no_others(name: str, environ: dict[str, str]) -> None:
    start = STARTS[name]
    found = imported(start, environ)

    faults = [f"{name} imports {one}: {found[one]}" for one in sorted(HEAVY & found.keys() - start.imports.keys())]
    faults += [f"{name} does not import {one} (any more?)" for one in sorted(start.imports.keys() - found.keys())]
    assert not faults, "\n" + "\n".join((*faults, "The table is in tests/starts.py; bench/starts.py shows the cost."))


def test_the_table_has_the_module_of_every_command_and_every_child() -> None:
    children = {path.stem for path in (ROOT / "backup_agent/jobs").glob("*.py") if "__main__" in path.read_text()}

    assert {name for name in main.COMMANDS if name not in main.ASKING} <= COMMANDS.keys()
    assert children <= PROCESSES.keys()
