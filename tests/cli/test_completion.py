"""The completion scripts, sourced in real shells in which no program can be started."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from backup_agent.cli import main
from tests.cli.conftest import Place
from tests.components.cache import MissingComponentError

pytestmark = pytest.mark.process

Complete = Callable[..., set[str]]

COMPLETE = """
PATH=/nowhere
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_backup_agent
printf "%s\\n" "${COMPREPLY[@]}"
"""


@pytest.fixture(name="complete")
def _complete(place: Place, tmp_path: Path) -> Complete:
    """Complete the last of the words after `backup-agent` in bash, with a script made from these settings."""
    place.settings["storage"]["destinations"] = {"offsite": {"type": "s3", "bucket": "b"}}
    script = tmp_path / "script"
    script.write_text(place.run("completion", "bash").out)

    def complete(*words: str) -> set[str]:
        bash = ("/bin/bash", "--norc", "-uc", COMPLETE, "bash", str(script), "backup-agent", *words)
        completed = subprocess.run(bash, cwd=place.folder, capture_output=True, text=True, timeout=60, check=True)
        assert "command not found" not in completed.stderr
        return {line for line in completed.stdout.splitlines() if line}

    return complete


def test_commands_and_their_parts_are_completed(complete: Complete) -> None:
    assert complete("") == {*main.COMMANDS}
    assert complete("re") == {"request", "restore", "report", "release", "resume", "render"}
    assert complete("catalog", "a") == {"adopt", "accept"}
    assert complete("--config", "/x.yaml", "wh") == {"why"}


def test_options_of_the_command_alone_are_completed(complete: Complete) -> None:
    assert complete("list", "--da") == {"--database", "--damaged"}
    assert complete("catalog", "diff", "--") == {"--place", "--checksums", "--config", "--json", "--help"}
    assert complete("list", "--place", "local", "--hel") == {"--held", "--help"}
    assert complete("--v") == {"--version"}


def test_values_are_completed_and_places_are_those_of_the_settings(complete: Complete) -> None:
    assert complete("list", "--place", "") == {"local", "offsite"}
    assert complete("restore", "orders", "--from", "o") == {"offsite"}
    assert complete("list", "--place", "=", "of") == {"offsite"}
    assert complete("list", "--place", "=") == {"local", "offsite"}
    assert complete("list", "--sort", "") == {"taken", "size"}
    assert complete("completion", "") == {"bash", "zsh", "fish"}
    assert complete("list", "--since", "") == set()


def test_files_are_completed_where_a_file_is_named(complete: Complete, place: Place) -> None:
    (place.folder / "spec file.yaml").touch()

    assert complete("--config", "con") == {"config.yaml"}
    assert complete("render", "spec") == {"spec file.yaml"}
    assert complete("list", "con") == set()


def test_without_settings_the_volume_is_the_only_place(place: Place) -> None:
    script = place.run_bare("completion", "bash", "--config", "/nowhere.yaml").out

    assert ") words='local' ;;" in script


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_script_is_read_by_its_shell_without_an_error(place: Place, tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        raise MissingComponentError.package(shell, shell)
    script = tmp_path / "script"
    script.write_text(place.run("completion", shell).out)
    completed = subprocess.run((shell, "-n", str(script)), capture_output=True, text=True, timeout=60, check=False)

    assert (completed.returncode, completed.stderr) == (0, "")
