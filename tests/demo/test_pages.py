"""docs/tutorial.md and docs/playground.md: their commands have the outputs that the pages show."""

import re
from pathlib import Path

import pytest

from tests.cli.session import sessions
from tests.demo.session import PAGES, enter, masked, playground

GLOSSARY = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text()
NEED_A_NAME = {"backup-agent verify", "backup-agent drill", "backup-agent show"}
"""Commands that the tutorial enters with a name, or that need one."""

QUESTIONS = [one for one in re.findall(r"^\| .*\? \| `(.*?)` \|", GLOSSARY, re.MULTILINE) if one not in NEED_A_NAME]


@pytest.mark.nightly
@pytest.mark.components
def test_each_command_of_the_pages_has_the_output_that_they_show(tmp_path: Path) -> None:
    entered = [(page.name, command, out) for page in PAGES for command, out in sessions(page.read_text())]

    assert {name for name, _, _ in entered} == {page.name for page in PAGES}
    with playground(tmp_path / "playground") as folder:
        for name, command, out in entered:
            assert masked(enter(folder, command)) == masked(out), f"{name}: {command}"
        for command in QUESTIONS:
            assert enter(folder, f"{command} >/dev/null; echo $?") in ("0\n", "3\n"), command
