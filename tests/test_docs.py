"""The documentation agrees with the commands, the settings, the files and the targets of the Makefile."""

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

import click
import pytest

from backup_agent import __version__
from backup_agent.cli import main
from backup_agent.cli.help import WRONG_USAGE, DocumentedCommand
from backup_agent.core.artifacts.attribution import Attribution
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.requests.request import BUILT, RESERVED, TAKES, Action, Request
from tests.components import pythons

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS_PAGE = (ROOT / "docs" / "commands.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = dict(re.findall(r"^([a-z-]+):([^#\n]*)", MAKEFILE, re.MULTILINE))
"""Target of the Makefile -> its prerequisites."""
SECTIONS = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", COMMANDS_PAGE, re.MULTILINE | re.DOTALL))
PARTS = dict(re.findall(r"^### ([a-z]+ [a-z]+)\n(.*?)(?=^###? |\Z)", COMMANDS_PAGE, re.MULTILINE | re.DOTALL))
"""Subcommand, such as `catalog diff` -> its section of docs/commands.md."""
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
EVERYWHERE = {"--config", "--json", "--utc"}
"""Options that the page describes once, for all commands."""


def flat(text: str) -> str:
    return " ".join(text.split())


def command(name: str) -> click.Command:
    first, _, part = name.partition(" ")
    found = main.group.get_command(click.Context(main.group), first)
    assert found is not None, name
    return found.commands[part] if part and isinstance(found, click.Group) else found


def parts(name: str) -> list[str]:
    """Return the subcommands of a command, such as `catalog diff`, or the command itself if it has none."""
    found = command(name)
    return [f"{name} {part}" for part in found.commands] if isinstance(found, click.Group) else [name]


WHOLE = [part for name in main.COMMANDS for part in parts(name)]
"""Every command and subcommand that can be run."""


def documented(name: str) -> DocumentedCommand:
    found = command(name)
    assert isinstance(found, DocumentedCommand), name
    return found


def options(name: str) -> dict[str, str]:
    """Return the options of a command with their help."""
    return {one.opts[0]: one.help or "" for one in command(name).params if isinstance(one, click.Option)}


def test_the_pages_name_every_field_of_attribution() -> None:
    for field in Attribution.model_fields:
        for page in (README, (ROOT / "docs" / "catalog.md").read_text()):
            assert re.search(rf"^\| .*`{field}`.* \|", page, re.MULTILINE), field


def test_the_page_has_every_command_in_the_order_of_the_help() -> None:
    assert list(SECTIONS) == list(main.COMMANDS)
    assert list(PARTS) == [name for name in WHOLE if " " in name]


def test_the_page_describes_a_command_as_its_help_does() -> None:
    for name in dict.fromkeys([*main.COMMANDS, *WHOLE]):
        assert flat({**SECTIONS, **PARTS}[name]).startswith(flat(command(name).help or "none")), name


def test_the_page_describes_every_option_as_the_help_does() -> None:
    for name in WHOLE:
        described = dict(re.findall(r"^\| `(--[a-z0-9-]+)` \| (.+) \|$", {**SECTIONS, **PARTS}[name], re.MULTILINE))
        elsewhere = EVERYWHERE - ({"--json"} & described.keys())
        assert described == {option: text for option, text in options(name).items() if option not in elsewhere}, name


def test_the_page_has_the_examples_of_the_help_in_one_block() -> None:
    for name in WHOLE:
        blocks = re.findall(r"(?:^    \S.*\n)+", {**SECTIONS, **PARTS}[name], re.MULTILINE)
        assert "".join(f"    {example}\n" for example in documented(name).examples) in blocks, name


def test_the_page_describes_every_exit_code_as_the_help_does() -> None:
    for name in WHOLE:
        described = dict(re.findall(r"^\| (\d+) \| (.+) \|$", {**SECTIONS, **PARTS}[name], re.MULTILINE))
        assert described == {str(code): text for code, text in documented(name).exits.items() if text != WRONG_USAGE}, (
            name
        )


def test_the_examples_of_a_command_name_commands_and_options_that_exist() -> None:
    for name in WHOLE:
        for example in documented(name).examples:
            words = shlex.split(example)
            assert words[0] == "backup-agent", name
            called = " ".join(words[1:3]) if " ".join(words[1:3]) in WHOLE else words[1]
            assert {word for word in words if word.startswith("--")} <= options(called).keys(), example


def test_every_command_can_print_json() -> None:
    for name in WHOLE:
        assert "--json" in options(name), name


def invocations(text: str) -> list[list[str]]:
    """Return the words after each `backup-agent` in code."""
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^    (\S.*)$", text, re.MULTILINE)
    return [line.split()[1:] for line in code if line.startswith("backup-agent ")]


def test_commands_that_a_page_shows_exist_with_their_options() -> None:
    for page in PAGES:
        for words in invocations((ROOT / page).read_text()):
            if words[0] == "COMMAND":
                continue
            assert words[0] in main.COMMANDS, (page, words)
            name = " ".join(words[:2]) if " ".join(words[:2]) in WHOLE else words[0]
            assert {word for word in words if word.startswith("--")} <= {*options(name), "--help"}, (page, words)


def test_the_readme_names_every_command() -> None:
    assert [name for name in main.COMMANDS if not re.search(rf"[` ]{name}\b", README)] == []


REQUEST_TABLE = README.partition("\n## A request\n")[2].partition("|---|---|---|\n")[2].partition("\n\n")[0]
REQUEST_ROWS = [
    (re.findall(r"`(\w+)`", fields), meaning, default.strip(" `"))
    for fields, meaning, default in (row.strip("|").split("|") for row in REQUEST_TABLE.splitlines())
]
"""Fields, meaning and default of each row of the table of request fields."""


def test_the_readme_has_a_row_for_every_field_of_a_request_and_no_other_rows() -> None:
    assert sorted(name for names, _, _ in REQUEST_ROWS for name in names) == sorted(Request.model_fields)


@pytest.mark.parametrize(("field", "values"), [("action", BUILT), ("type", BackupType)])
def test_the_readme_names_each_value_of_a_field_that_has_a_few(field: str, values: Iterable[StrEnum]) -> None:
    (meaning,) = (meaning for names, meaning, _ in REQUEST_ROWS if names == [field])

    assert sorted(re.findall(r"`(\w+)`", meaning)) == sorted(value.value for value in values)


@pytest.mark.parametrize("field", ["action", "type", "all", "chain", "heal"])
def test_the_readme_states_the_default_of_a_field(field: str) -> None:
    (default,) = (default for names, _, default in REQUEST_ROWS if field in names)

    assert default == json.dumps(Request().model_dump(mode="json")[field]).strip('"')


def test_the_readme_names_the_actions_that_take_a_field_if_it_names_any() -> None:
    for names, meaning, _ in REQUEST_ROWS:
        named = {word for word in re.findall(r"`(\w+)`", meaning) if word in {*Action}}
        if named and TAKES.keys() >= set(names):
            assert named == {action for name in names for action in TAKES[name]} - {*RESERVED}, names


def test_make_targets_of_the_readme_exist() -> None:
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", README, re.MULTILINE))

    assert named
    assert named <= TARGETS.keys()


def test_make_help_lists_each_part_of_the_nightly_run_and_the_page_of_results_has_a_line_for_it() -> None:
    listed = subprocess.run(("make", "help"), cwd=ROOT, capture_output=True, text=True, check=True).stdout
    parts = TARGETS["nightly"].split()
    rows = re.findall(r"^\| `make ([a-z-]+)` \|", (ROOT / "bench" / "nightly.md").read_text(), re.MULTILINE)

    assert parts == rows
    assert {"test", "nightly", *parts} <= {line.split()[0] for line in listed.splitlines()}


def test_every_test_that_make_test_leaves_out_is_in_the_nightly_run() -> None:
    def recipe(target: str) -> str:
        return re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1]  # type: ignore[index]  # it is there

    assert '-m "not nightly and not api_server"' in recipe("test")
    assert "-m nightly" in recipe("long")
    assert "-m api_server tests/k8s" in recipe("api-server")
    assert {"long", "api-server"} <= set(TARGETS["nightly"].split())


def test_all_files_name_the_same_versions_of_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = [re.search(r"3\.\d+$", one)[0] for one in project["classifiers"]]  # type: ignore[index]  # they are versions
    names = re.search(r"for name in ((?:python3\.\d+ )+)", (ROOT / "container" / "Containerfile").read_text())

    assert versions == ["3.11", *pythons.VERSIONS]
    assert project["requires-python"] == f">={versions[0]}"
    assert f"Python {versions[0]} to {versions[-1]}" in README
    assert f"Python {versions[1]} to {versions[-1]}" in MAKEFILE
    assert names is not None
    assert sorted(names[1].split()) == [f"python{version}" for version in versions]


def test_links_between_pages_lead_to_existing_files_and_headings() -> None:
    for page in PAGES:
        links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text())
        assert [link for link in links if not ((ROOT / page).parent / link).exists()] == [], page


def test_every_example_names_the_image_of_the_agent_by_both_versions() -> None:
    examples = [ROOT / page for page in PAGES] + sorted((ROOT / "k8s").rglob("*.yaml"))
    tags = {tag for path in examples for tag in re.findall(r"/neo4j-backup-agent:([\w.-]+[^\W.-])", path.read_text())}

    assert len(tags) > 0
    assert [tag for tag in tags if not re.fullmatch(r"\d+\.\d+\.\d+-\d{4}\.\d{2}\.\d+(-\d{8})?", tag)] == []


def test_the_command_that_builds_the_image_gives_every_argument() -> None:
    page = (ROOT / "docs" / "image.md").read_text()
    recipe = (ROOT / "container" / "Containerfile").read_text()

    assert set(re.findall(r"--build-arg (\w+)=", page)) == set(re.findall(r"(?m)^ARG (\w+)", recipe))


def test_the_changelog_begins_with_this_version_or_with_unreleased_changes() -> None:
    newest = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert newest is not None
    assert newest[1] == "Unreleased" or newest[1].startswith(__version__)


def test_the_design_page_has_every_room() -> None:
    table = (ROOT / "docs" / "design.md").read_text().partition("## Rooms")[2].partition("\n## ")[0]
    described = {
        name for cell in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    package = ROOT / "backup_agent"
    rooms = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}

    assert described == rooms - {"__init__", "__main__"}


def linked(page: Path) -> set[Path]:
    """Return the pages to which a page links."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    return {(page.parent / link).resolve() for link in links}


def test_the_index_of_the_documentation_links_to_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    pages = {path.resolve() for path in (ROOT / "docs").rglob("*.md")} - {index}

    assert pages - linked(index) == set()


def test_the_readme_links_to_every_page_but_single_runbooks() -> None:
    pages = {path.resolve() for path in (ROOT / "docs").glob("*.md")}

    assert pages - linked(ROOT / "README.md") == set()
