"""Wrong usage, faulty settings, a broken pipe."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from backup_agent import __version__
from backup_agent.cli import main
from tests.cli.conftest import Place

WITH_SETTINGS = [("request",), ("status",), ("list",), ("show", "x"), ("schedules",), ("config",)]


@pytest.mark.parametrize("command", main.COMMANDS)
def test_every_command_has_a_help(place: Place, command: str) -> None:
    result = place.run_bare(command, "--help")

    assert result.code == 0
    assert result.out.startswith(f"Usage: backup-agent {command} ")


def test_the_help_of_a_group_has_the_whole_first_sentence_of_each_subcommand(place: Place) -> None:
    _, parts = place.run_bare("catalog", "--help").out.split("\nCommands:\n")

    assert "accept Accept unrecognised records: the agent recognises them from now on. adopt" in " ".join(parts.split())
    assert "..." not in parts


def test_the_help_lists_the_commands_in_order(place: Place) -> None:
    result = place.run_bare("--help")

    places = [result.out.index(f"\n  {command} ") for command in main.COMMANDS]
    assert places == sorted(places)


@pytest.mark.parametrize("command", main.COMMANDS)
def test_the_line_of_a_command_in_the_help_is_the_first_sentence_of_its_own_help(command: str) -> None:
    found = main.group.get_command(click.Context(main.group), command)

    assert found is not None
    assert (found.help or "").split("\n\n")[0] == main.COMMANDS[command]


@pytest.mark.parametrize("command", ["list", "catalog diff", "status"])
def test_the_help_of_a_command_ends_in_examples_and_exit_codes(place: Place, command: str) -> None:
    _, examples = place.run_bare(*command.split(), "--help").out.split("\nExamples:\n")
    lines, exits = examples.split("\n\nExit codes:\n")

    assert lines.startswith("  backup-agent ")
    assert [line.split()[0] for line in exits.splitlines()][:3] == ["0", "1", "2"]
    assert "\n  2  wrong usage, or " in exits


def test_without_its_packages_the_demo_says_where_it_can_be_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("backup_agent.demo", "backup_agent.standins"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails as if it were not installed

    result = place.run_bare("demo")

    assert (result.code, result.out) == (2, "")
    assert result.err == (
        "backup-agent demo: the demo is not part of this image: "
        "run `make demo` in a checkout, or install the package with its extra `demo`\n"
    )


def test_the_version_is_printed(place: Place) -> None:
    assert place.run_bare("--version").out == f"backup-agent, version {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="no command"),
        pytest.param(["backup"], id="unknown command"),
        pytest.param(["list", "--sett", "x"], id="unknown option"),
        pytest.param(["show"], id="missing argument"),
        pytest.param(["schema", "settings"], id="unknown choice"),
        pytest.param(["schedules", "--count", "0"], id="too small"),
        pytest.param(["request", "--timeout", "-1"], id="negative"),
    ],
)
def test_wrong_usage_is_reported_on_stderr_and_exits_2(place: Place, arguments: list[str]) -> None:
    result = place.run_bare(*arguments)

    assert result.code == 2
    assert result.out == ""
    assert "Usage: backup-agent" in result.err


@pytest.mark.parametrize("command", WITH_SETTINGS, ids=" ".join)
def test_every_fault_of_the_settings_is_reported_at_once(place: Place, command: tuple[str, ...]) -> None:
    place.settings |= {"cluster": [], "colour": "red"}
    place.settings["neo4j"] = {"uri": "http://demo-client"}

    result = place.run(*command)

    assert result.code == 2
    assert result.out == ""
    for word in ("3 faults", "cluster: ", "neo4j.uri: ", "colour: unknown key"):
        assert word in result.err


def test_a_given_settings_file_that_is_missing_is_a_fault(place: Place) -> None:
    result = place.run_bare("list", "--config", "/nowhere.yaml")

    assert result.code == 2
    assert result.err == (
        "backup-agent: /nowhere.yaml: no such file\n"
        "HINT: write it, or name another with --config or $BACKUP_AGENT_CONFIG\n"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["stat"], "there is no command 'stat'; did you mean status?", id="command"),
        pytest.param(["catalog", "dif"], "Did you mean 'diff'?", id="part of a command"),
        pytest.param(["list", "--databse", "orders"], "'--database'", id="option"),
    ],
)
def test_the_error_for_a_misspelt_word_suggests_the_nearest_one(
    place: Place, arguments: list[str], expected: str
) -> None:
    result = place.run_bare(*arguments)

    assert result.code == 2
    assert expected in result.err


def test_the_error_for_a_word_unlike_every_command_has_no_suggestion(place: Place) -> None:
    assert place.run_bare("xyzzy").err.endswith("Error: there is no command 'xyzzy'\n")


@pytest.mark.parametrize(
    ("arguments", "code", "reason", "error", "hint"),
    [
        pytest.param(["stat"], 2, "usage", "did you mean status?", "`backup-agent --help`", id="command"),
        pytest.param(["list", "--sort", "x"], 2, "usage", "'--sort'", "`backup-agent list --help`", id="option"),
        pytest.param(["list", "--config", "/no.yaml"], 2, "settings", "/no.yaml: no such file", "--config", id="file"),
        pytest.param(["show", "x"], 1, "not_found", "x: neither an artifact nor", "`backup-agent list`", id="found"),
        pytest.param(["restore", "web"], 1, "not_found", "web", "", id="a plan"),
    ],
)
def test_with_json_an_error_is_one_line_of_json_on_stderr(
    place: Place, arguments: list[str], code: int, reason: str, error: str, hint: str
) -> None:
    result = place.run(*arguments, "--json")
    printed = json.loads(result.err)

    assert (result.code, result.out, result.err.count("\n")) == (code, "", 1)
    assert printed.keys() == {"error", "reason", "hint"}
    assert printed["reason"] == reason
    assert error in printed["error"]
    assert hint in printed["hint"]


def test_with_json_a_failed_system_call_is_json_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise OSError(5, "Input/output error", "/data")

    monkeypatch.setattr("backup_agent.cli.list.place_of", failing)

    assert json.loads(place.run("list", "--json").err) == {
        "error": "/data: Input/output error",
        "reason": "system",
        "hint": "",
    }


def test_without_a_settings_file_a_hint_says_where_to_write_it(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("location", "written"):
        monkeypatch.setattr(f"backup_agent.settings.{module}.DEFAULT_PATH", tmp_path / "nothing.yaml")

    result = place.run_bare("list")

    assert result.code == 2
    assert result.err == (
        f"backup-agent: {tmp_path}/nothing.yaml: no such file, and the environment alone is not enough:\n"
        "  cluster: required, such as demo\n"
        "  neo4j.uri: required, such as neo4j://demo-client:7687\n"
        "HINT: write it, or name another with --config or $BACKUP_AGENT_CONFIG\n"
    )


def test_config_may_come_before_or_after_the_command(place: Place) -> None:
    config = str(place.config)

    assert place.run_bare("--config", config, "list") == place.run_bare("list", "--config", config)


def test_a_folder_that_cannot_be_read_is_named(place: Place) -> None:
    place.root.rmdir()
    place.root.write_text("a file where the volume should be")

    result = place.run("list")

    assert result.code == 1
    assert result.err.startswith(f"backup-agent: {place.root}: there is no such folder\nHINT: ")


@pytest.mark.process
def test_a_broken_pipe_causes_no_traceback(place: Place) -> None:
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "backup_agent", "config", "--config", str(place.config)],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(writer)
        os.close(reader)
        _, err = process.communicate(timeout=30)

    assert (process.returncode, err) == (141, "")


@pytest.mark.process
def test_a_broken_pipe_before_an_error_causes_no_traceback(place: Place) -> None:
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-m", "backup_agent", "show", "nothing", "--config", str(place.config)],
        stdout=subprocess.DEVNULL,
        stderr=writer,
    ) as process:
        os.close(writer)
        os.close(reader)
        process.wait(timeout=30)

    assert process.returncode == 141


STALLS = """
import sys
print("importing", flush=True)
sys.stdin.read()
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
@pytest.mark.parametrize("module", ["click", "yaml"], ids=["before the commands", "with a command"])
def test_a_signal_during_imports_ends_the_command_without_a_traceback(
    place: Place, tmp_path: Path, number: signal.Signals, code: int, module: str
) -> None:
    (tmp_path / f"{module}.py").write_text(STALLS)
    with subprocess.Popen(
        [sys.executable, "-c", HEARS_SIGNALS, "-m", "backup_agent", "config", "--config", str(place.config)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)

    assert (process.returncode, out, err) == (code, "", "")


HEARS_SIGNALS = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell's background job ignores some
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
