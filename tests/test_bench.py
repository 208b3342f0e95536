"""Every benchmark runs. No test checks the figures: people read them."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"
BENCHMARKS = sorted(path.name for path in BENCH.glob("*.py") if path.name != "machine.py")
HERE = ("--python", sys.executable)
"""Options for the agent of this environment, since a clean environment takes long to make."""


def run(name: str, *options: str) -> str:
    completed = subprocess.run(
        (sys.executable, BENCH / name, *options), capture_output=True, text=True, timeout=300, check=False
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_says_what_it_shows_and_how_to_run_it(name: str) -> None:
    docstring = ast.get_docstring(ast.parse((BENCH / name).read_text())) or ""

    assert docstring.partition("\n")[0].endswith(".")
    assert f"`python bench/{name}" in docstring


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_readme_describes_every_benchmark(name: str) -> None:
    assert f"`{name}`" in (BENCH / "README.md").read_text()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_docstring_names_exactly_the_options_of_its_benchmark(name: str) -> None:
    docstring = ast.get_docstring(ast.parse((BENCH / name).read_text())) or ""

    listed = run(name, "--help").partition("options:")[2]

    assert set(re.findall(r"--[a-z]+", docstring)) <= set(re.findall(r"--[a-z]+", listed))


def test_the_idle_agent_is_measured() -> None:
    printed = run("idle.py", *HERE, "--seconds", "0.5", "--settle", "0", "--scrape", "0.2")

    assert re.search(r"RSS \d+\.\d MiB", printed)
    assert re.search(r"processor \d+\.\d+ % of a core", printed)


def test_the_start_of_a_command_is_measured() -> None:
    printed = run("starts.py", *HERE, "--rounds", "1", "--only", "status")

    assert re.search(r"(?m)^backup-agent status +\d\.\d{3} +0\.25 +\d+\.\d +\d+$", printed)
    assert "backup-agent status: click: the command line; http.client: " in printed


def test_the_start_with_many_records_is_measured() -> None:
    printed = run("start.py", *HERE, "--records", "40", "--databases", "2")

    assert re.search(r"with index: ready after \d+\.\d s; supervisor RSS \d+\.\d MiB", printed)


def test_the_time_to_neo4j_admin_is_measured() -> None:
    printed = run("latency.py", *HERE, "--requests", "2")

    assert "2 requests with the topology known" in printed
    assert re.search(r"dropped to spawned: p50 \d\.\d+ s", printed)


@pytest.mark.nightly
@pytest.mark.components
def test_the_agents_share_of_a_run_is_measured() -> None:
    printed = run("share.py", *HERE, "--mebibytes", "2", "--rounds", "1")

    assert re.search(r"whole run +\d+\.\d\d s CPU", printed)
    assert re.search(r"agent's share +-?\d+\.\d\d s CPU", printed)


@pytest.mark.nightly
@pytest.mark.components
def test_a_night_of_many_databases_is_measured() -> None:
    printed = run("night.py", *HERE, "--databases", "2", "--destinations", "1", "--burn", "0.1")

    assert re.search(r"succeeded: window \d+\.\d s, copies stored after \d+\.\d s", printed)
    assert re.search(r"backup_agent\.jobs\.backup +1 processes", printed)


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is absent: apt-get install zstd")
def test_the_reading_pass_is_measured() -> None:
    printed = run("reading.py", "--mebibytes", "2", "--rounds", "1")

    assert re.search(r"reading pass \d+\.\d\d s", printed)


@pytest.mark.components
def test_a_large_artifact_is_read_uploaded_resumed_and_verified() -> None:
    printed = run("large.py", "--mebibytes", "64", "--parts", "2")

    assert re.search(r"^read +\d+\.\d s, +\d+\.\d CPU s, peak \d+ MiB$", printed, re.MULTILINE)
    assert re.search(r"^upload .*, 64 MiB of the file read$", printed, re.MULTILINE)
    assert re.search(r"^verify +\d+\.\d s", printed, re.MULTILINE)


def test_the_retention_plan_is_measured() -> None:
    printed = run("plan.py", "--artifacts", "200,400", "--databases", "2")

    assert printed.count("a million") == 6
    assert re.search(r" 400 unstated +\d+\.\d\d s", printed)


@pytest.mark.nightly
@pytest.mark.components
def test_random_kills_are_counted() -> None:
    printed = run("kills.py", "--kills", "2", "--each", "1")

    assert len(re.findall(r"^seed \d: 1 kills", printed, re.MULTILINE)) == 2
    assert re.search(r"^2 kills .* 0 faults; \d+ s$", printed, re.MULTILINE)


def test_the_retention_plan_is_compared_with_its_oracle() -> None:
    printed = run("retention.py", "--cases", "20", "--processes", "1")

    assert "20 cases, 0 differ from the oracle" in printed
