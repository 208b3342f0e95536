"""The stand-in parses its command line as picocli does; options depend on the version."""

from collections.abc import Callable

import pytest

from backup_agent.standins.neo4j_admin.arguments import BACKUP, INSPECT, Arguments, Command, expanded, find, parse
from backup_agent.standins.neo4j_admin.console import CommandError, Exit
from backup_agent.standins.neo4j_admin.versions import Version
from backup_agent.standins.neo4j_admin.versions import parse as version_of
from tests.standins.conftest import Simulation

NEWEST = (2026, 9, 0)


def read(*argv: str, command: Command = BACKUP, version: Version = NEWEST) -> Arguments:
    return parse(command, list(argv), version)


@pytest.mark.parametrize(
    ("option", "last_without", "first_with"),
    [
        ("--temp-path=x", "5.23.0", "5.24.0"),
        ("--prefer-diff-as-parent", "2025.03.0", "2025.04.0"),
        ("--remote-address-resolution", "2025.08.0", "2025.09.0"),
        ("--parallel-download", "2025.10.1", "2025.11.0"),
        ("--skip-recovery=true", "5.26.31", "2025.11.0"),
    ],
)
def test_an_option_is_unknown_in_versions_before_its_first(option: str, last_without: str, first_with: str) -> None:
    with pytest.raises(CommandError, match=f"Unknown option: '{option}'") as refused:
        read(option, version=version_of(last_without))

    assert refused.value.exit_code is Exit.USAGE
    assert read(option, version=version_of(first_with)).values


@pytest.mark.parametrize(
    "option",
    [
        "--compress", "--compress=false", "--keep-failed=true", "--parallel-recovery", "--include-metadata=none",
        "--inspect-path=x", "--pagecache=8m", "--to-path=x", "--type=FULL", "--from=a:1", "--additional-config=x",
        "--expand-commands", "--verbose",
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", ["5.24.0", "5.26.31", "2025.01.0", "2026.09.0"])
def test_older_options_are_known_in_every_version(option: str, version: str) -> None:
    assert read(option, version=version_of(version))


@pytest.mark.parametrize(
    ("argv", "parameters", "sources"),
    [
        pytest.param(["--from=a:1,b:2", "orders"], ("orders",), ["a:1", "b:2"], id="with-equals-it-is-not-greedy"),
        pytest.param(["--from", "a:1", "orders"], (), ["a:1", "orders"], id="without-it-swallows-the-database"),
        pytest.param(["--from", "a:1", "--verbose", "orders"], ("orders",), ["a:1"], id="greed-ends-at-an-option"),
        pytest.param(["orders", "--from", "a:1", "b:2"], ("orders",), ["a:1", "b:2"], id="database-first"),
        pytest.param(["--from=a:1", "--from=b:2", "x"], ("x",), ["a:1", "b:2"], id="given-twice"),
        pytest.param(["--from=a:1", "--", "--x"], ("--x",), ["a:1"], id="after-two-dashes-all-are-parameters"),
        pytest.param(["x", "y"], ("x", "y"), None, id="several-databases"),
    ],
)
def test_a_list_option_without_equals_sign_takes_all_following_words(
    argv: list[str], parameters: tuple[str, ...], sources: list[str]
) -> None:
    arguments = read(*argv)

    assert (parameters, sources) == (arguments.parameters, arguments.lists.get("--from"))


@pytest.mark.parametrize(
    ("argv", "on", "parameters"),
    [
        (["--compress"], True, ()),
        (["--compress=FALSE"], False, ()),
        (["--compress", "false", "x"], False, ("x",)),
        (["--compress", "x"], True, ("x",)),
        (["--compress", "--verbose"], True, ()),
    ],
)
def test_a_switch_takes_an_optional_value(argv: list[str], on: bool, parameters: tuple[str, ...]) -> None:
    arguments = read(*argv)

    assert (on, parameters) == (arguments.values["--compress"], arguments.parameters)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--bogus"], "Unknown option: '--bogus'"),
        (["--bogus=1"], "Unknown option: '--bogus=1'"),
        (["--compress=maybe"], "Invalid value for option '--compress': 'maybe' is not a boolean"),
        (["--type=HALF"], r"expected one of \[FULL, DIFF, AUTO\] \(case-insensitive\) but was 'HALF'"),
        (["--to-path=a", "--to-path=b"], r"option '--to-path' \(<path>\) should be specified only once"),
        (["--to-path"], r"Missing required parameter for option '--to-path' \(<path>\)"),
        (["--to-path", "--verbose"], "Expected parameter for option '--to-path' but found '--verbose'"),
    ],
)
def test_an_invalid_option_is_a_usage_error(argv: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message) as refused:
        read(*argv)

    assert refused.value.exit_code is Exit.USAGE


def test_values_ignore_case() -> None:
    assert read("--type=full").text("--type") == "FULL"
    assert read("--format=json", command=INSPECT).text("--format") == "JSON"


@pytest.mark.parametrize(
    ("argv", "version", "exit_code", "message"),
    [
        (["databases", "backup"], "2026.09.0", 2, "Unmatched arguments from index 0: 'databases', 'backup'"),
        (["database", "backups", "x"], "2026.09.0", 2, "from index 1: 'backups', 'x'\nDid you mean: database backup"),
        (["backup", "inspect", "x"], "5.24.0", 2, "from index 1: 'inspect', 'x'"),
        (["database", "load"], "2026.09.0", 1, "The stand-in has no 'database load'"),
    ],
)
def test_an_unknown_command_is_refused(argv: list[str], version: str, exit_code: int, message: str) -> None:
    with pytest.raises(CommandError, match=message) as refused:
        find(argv, version_of(version))

    assert refused.value.exit_code == exit_code


def test_an_argument_file_is_replaced_by_its_words(simulation: Simulation) -> None:
    file = simulation.folder / "arguments"
    file.write_text("--type=FULL # all of it\n'orders' --from=a:1\n")

    assert expanded(["x", f"@{file}", "@@y", "@none"]) == ["x", "--type=FULL", "orders", "--from=a:1", "@y", "@none"]


@pytest.mark.parametrize(
    ("arguments", "out"),
    [(["--version"], "5.26.31\n"), (["-V"], "5.26.31\n"), (["version"], "neo4j 5.26.31\n")],
)
def test_the_version_is_printed(simulate: Callable[[str], Simulation], arguments: list[str], out: str) -> None:
    completed = simulate("5.26.31").run(*arguments)

    assert (0, out, "") == (completed.returncode, completed.stdout, completed.stderr)


def test_a_call_without_command_is_a_usage_error_and_help_is_not(simulation: Simulation) -> None:
    assert simulation.run().returncode == Exit.USAGE
    assert simulation.run("--help").returncode == 0


def test_the_help_says_that_the_program_is_a_stand_in(simulation: Simulation) -> None:
    for arguments in (["--help"], ["database", "backup", "--help"], ["backup", "inspect", "-h"]):
        completed = simulation.run(*arguments)

        assert (completed.returncode, "This is a stand-in" in completed.stdout) == (0, True)


def test_a_usage_error_is_printed_on_stderr_with_the_usage(simulation: Simulation) -> None:
    completed = simulation.run("database", "backup", "--bogus")

    assert (completed.returncode, completed.stdout) == (64, "")
    assert completed.stderr.startswith("Unknown option: '--bogus'\n")
    assert "\nUSAGE\n\nneo4j-admin database backup [-h]" in completed.stderr
