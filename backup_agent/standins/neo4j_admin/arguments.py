"""The command line of `neo4j-admin`, as tables by version, and picocli's manners in reading it.

A newcomer would let argparse do this. picocli differs where an agent gets it wrong: `--from a:1 orders` takes `orders`
for a second server (with `=` it does not), `--compress` may stand alone or take a value, values ignore case, an option
given twice is refused. Texts of refusals are those of real Community 5.26.31 and 2026.09.0.
"""

import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from backup_agent.standins.neo4j_admin.console import CommandError, Exit
from backup_agent.standins.neo4j_admin.versions import Version

FOREVER: Version = (9999,)
NAME = re.compile(r"[A-Za-z0-9.*?-]+")
WIDTH = 120
EPILOGUE = (
    "This is a stand-in for Neo4j Enterprise's neo4j-admin, part of neo4j-backup-agent. It reads a simulated cluster, "
    "never a server. Log lines between start and end, most failures' wording, the inside of differentials and the "
    "keys of JSON are guesses."
)


@dataclass(frozen=True)
class Option:
    """One option. `kind`: flag (no value), switch ([=true|false]), value, list (greedy, comma-separated)."""

    name: str
    kind: str
    text: str
    label: str = ""
    since: Version = ()
    until: Version = FOREVER
    choices: tuple[str, ...] = ()
    default: str | None = None

    @property
    def usage(self) -> str:
        """The option as a synopsis shows it."""
        return {
            "flag": self.name,
            "switch": f"{self.name}[=true|false]",
            "value": f"{self.name}={self.label}",
            "list": f"{self.name}={self.label}",
        }[self.kind]


@dataclass(frozen=True)
class Command:
    """One command with its options, of all versions."""

    words: tuple[str, ...]
    text: str
    options: tuple[Option, ...]
    parameter: str
    parameter_text: str
    since: Version = ()

    def options_of(self, version: Version) -> dict[str, Option]:
        """Return the options this command has in a version, by name."""
        return {option.name: option for option in self.options if option.since <= version < option.until}


@dataclass(frozen=True)
class Arguments:
    """What was asked: values by option name, lists by option name, and parameters."""

    command: Command
    values: dict[str, str | bool]
    lists: dict[str, list[str]]
    parameters: tuple[str, ...] = ()

    def text(self, name: str) -> str | None:
        """Return the value of an option, or None."""
        value = self.values.get(name)
        return value if isinstance(value, str) else None

    def on(self, name: str, *, default: bool = False) -> bool:
        """Return whether a flag or switch is on."""
        return self.values.get(name, default) is True


COMMON = (
    Option("--additional-config", "value", "Configuration file with additional configuration.", "<file>"),
    Option("--expand-commands", "flag", "Allow command expansion in config value evaluation."),
    Option("--help", "flag", "Show this help message and exit."),
    Option("--verbose", "flag", "Enable verbose output."),
)
BACKUP = Command(
    ("database", "backup"),
    "Perform an online backup from a running Neo4j enterprise server.",
    (
        *COMMON,
        Option("--compress", "switch", "Request backup artifact to be compressed.", default="true"),
        Option("--from", "list", "Servers to try, in order.", "<host:port>[,<host:port>...]"),
        Option(
            "--include-metadata", "value", "Metadata to put in the artifact.", "none|all|users|roles", default="all"
        ),
        Option("--inspect-path", "value", "List the metadata of backups.", "<path>"),
        Option("--keep-failed", "switch", "Keep a directory with the failed backup.", default="false"),
        Option("--pagecache", "value", "Page cache of the backup process.", "<size>"),
        Option("--parallel-download", "switch", "Pull from several servers.", since=(2025, 11), default="false"),
        Option("--parallel-recovery", "switch", "Recover with several threads.", default="false"),
        Option("--prefer-diff-as-parent", "flag", "Take the latest differential as parent.", since=(2025, 4)),
        Option("--remote-address-resolution", "switch", "The DBMS picks servers.", since=(2025, 9), default="false"),
        Option("--skip-recovery", "switch", "Leave a full backup unrecovered.", since=(2025, 11), default="false"),
        Option("--temp-path", "value", "An empty folder for temporary files.", "<path>", since=(5, 24)),
        Option("--to-path", "value", "Folder of the artifacts.", "<path>"),
        Option("--type", "value", "FULL, DIFF or AUTO.", "<type>", choices=("FULL", "DIFF", "AUTO"), default="AUTO"),
    ),
    "<database>",
    "Names of the remote databases. Can contain * and ? for globbing.",
)
INSPECT = Command(
    ("backup", "inspect"),
    "Command to read the backup metadata.",
    (
        *COMMON,
        Option("--database", "value", "Name of the database to inspect.", "<database>"),
        Option("--empty", "flag", "Include empty backups."),
        Option("--format", "value", "Format of the output.", "<value>", choices=("JSON", "TABULAR"), default="TABULAR"),
        Option("--latest-backup", "flag", "Show only the latest backup."),
        Option("--latest-chain", "flag", "List the chain that ends with the latest backup."),
        # Ignored since 2025.07, but still read.
        Option("--show-metadata", "flag", "Show the metadata of the backups."),
    ),
    "<backup-path>",
    "A folder of backups, or one backup.",
    since=(5, 25),
)
COMMANDS = (BACKUP, INSPECT)
ELSEWHERE = {
    "database": ("aggregate-backup", "check", "copy", "dump", "import", "info", "load", "migrate", "restore"),
    "backup": ("aggregate", "validate"),
    "dbms": ("set-initial-password", "unbind-system-db"),
    "server": ("license", "unbind"),
}
"""Commands of the real one that the stand-in refuses, saying so."""


def find(argv: list[str], version: Version) -> Command:
    """Return the command that argv names; raise CommandError as the real one refuses an unknown one."""
    for command in COMMANDS:
        if tuple(argv[: len(command.words)]) == command.words and version >= command.since:
            return command
    category = argv[0]
    known = ELSEWHERE.get(category)
    if known and len(argv) > 1 and argv[1] in known:
        raise CommandError(f"The stand-in has no '{category} {argv[1]}': use a real Neo4j for it")
    if not known:
        raise unmatched(argv, 0, tuple(ELSEWHERE))
    ours = (command.words[1] for command in COMMANDS if command.words[0] == category and version >= command.since)
    raise unmatched(argv, 1, (*known, *ours))


def unmatched(argv: list[str], index: int, known: tuple[str, ...]) -> CommandError:
    """Return the refusal of an unknown command."""
    import difflib  # noqa: PLC0415  only a typo needs it, and every start would pay for it

    left = ", ".join(f"'{argument}'" for argument in argv[index:])
    near = difflib.get_close_matches(argv[index] if index < len(argv) else "", known, n=2, cutoff=0.4)
    lines = [f"Unmatched arguments from index {index}: {left}"]
    if near:
        lines.append(f"Did you mean: {' or '.join(' '.join((*argv[:index], word)) for word in near)}?")
    return CommandError("\n".join(lines), exit_code=Exit.UNKNOWN_COMMAND, framed=False)


def expanded(argv: list[str]) -> list[str]:
    """Replace each `@file` by the words in that file; where there is none, the argument stays as it is."""
    import shlex  # noqa: PLC0415  few calls have such a file

    found: list[str] = []
    for argument in argv:
        path = Path(argument[1:])
        if argument.startswith("@@"):
            found.append(argument[1:])
        elif argument.startswith("@") and path.is_file():
            found += expanded(shlex.split(path.read_text(encoding="utf-8"), comments=True))
        else:
            found.append(argument)
    return found


def parse(command: Command, argv: list[str], version: Version) -> Arguments:
    """Read what follows a command's words; raise CommandError (64) as picocli refuses."""
    options = command.options_of(version)
    values: dict[str, str | bool] = {}
    lists: dict[str, list[str]] = {}
    parameters: list[str] = []
    words = deque(argv)
    while words:
        word = words.popleft()
        if word == "--":
            parameters += words
            break
        if not _is_option(word):
            parameters.append(word)
            continue
        name, equals, attached = word.partition("=")
        name = "--help" if name == "-h" else name
        option = options.get(name)
        if option is None:
            raise _usage(f"Unknown option: '{word}'")
        if name in values:
            raise _usage(f"option '{name}'{_labelled(option)} should be specified only once")
        if equals:
            words.appendleft(attached)
        if option.kind == "flag":
            values[name] = _boolean(option, words.popleft()) if equals else True
        elif option.kind == "switch":
            follows = equals or (words and words[0].lower() in ("true", "false"))
            values[name] = _boolean(option, words.popleft()) if follows else True
        elif option.kind == "value":
            values[name] = _chosen(option, words.popleft() if equals else _following(option, words)[0])
        else:
            given = [words.popleft()] if equals else _following(option, words)
            lists.setdefault(name, []).extend(part for value in given for part in value.split(",") if part)
    return Arguments(command, values, lists, tuple(parameters))


def _following(option: Option, words: deque[str]) -> list[str]:
    """Take an option's detached values: one, or for a list all words up to the next option."""
    if not words:
        raise _usage(f"Missing required parameter for option '{option.name}'{_labelled(option)}")
    if _is_option(words[0]):
        raise _usage(f"Expected parameter for option '{option.name}' but found '{words[0]}'")
    taken = [words.popleft()]
    while option.kind == "list" and words and not _is_option(words[0]):
        taken.append(words.popleft())
    return taken


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-"


def _boolean(option: Option, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise _usage(f"Invalid value for option '{option.name}': '{value}' is not a boolean")
    return value.lower() == "true"


def _chosen(option: Option, value: str) -> str:
    if option.choices and value.upper() not in option.choices:
        expected = ", ".join(option.choices)
        raise _usage(
            f"Invalid value for option '{option.name}': expected one of [{expected}] (case-insensitive) "
            f"but was '{value}'"
        )
    return value.upper() if option.choices else value


def _labelled(option: Option) -> str:
    return f" ({option.label})" if option.label else ""


def database_names(parameters: tuple[str, ...]) -> tuple[str, ...]:
    """Return names and patterns in lower case, as Neo4j keeps them; raise CommandError where one cannot be a name."""
    for index, name in enumerate(parameters):
        if not NAME.fullmatch(name):
            place = f"Invalid value for positional parameter at index {index} (<database>)"
            raise _usage(
                f"{place}: Invalid database name '{name}'. (java.lang.IllegalArgumentException: Database name '{name}' "
                "contains illegal characters. Use simple ascii characters, numbers, dots, question marks, asterisk and "
                "dashes.)"
            )
    return tuple(name.lower() for name in parameters)


def missing(what: str) -> CommandError:
    """Return the refusal of a call that lacks something."""
    return _usage(f"Missing required {what}")


def invalid(option: str, why: str) -> CommandError:
    """Return the refusal of an option's value."""
    return _usage(f"Invalid value for option '{option}': {why}")


def exclusive(first: str, second: str) -> CommandError:
    """Return the refusal of two options together."""
    return _usage(f"Error: {first}, {second} are mutually exclusive (specify only one)")


def _usage(message: str) -> CommandError:
    return CommandError(message, exit_code=Exit.USAGE, framed=False)


def help_text(command: Command, version: Version) -> str:
    """Return a command's help, in the layout of the real one's."""
    import textwrap  # noqa: PLC0415  only help and refusals need it

    options = command.options_of(version)
    ordered = sorted(options.values(), key=lambda option: (option.kind in ("value", "list"), option.name))
    synopsis = ["[-h]", *(f"[{option.usage}]" for option in ordered if option.name != "--help")]
    parameter = f"[{command.parameter}...]" if command is BACKUP else command.parameter
    start = " ".join(("neo4j-admin", *command.words))
    usage = textwrap.fill(
        " ".join((*synopsis, parameter)),
        WIDTH,
        initial_indent=start + " ",
        subsequent_indent=" " * (len(start) + 1),
        break_on_hyphens=False,
        break_long_words=False,
    )
    rows = [_row(command.parameter, command.parameter_text)]
    described = [
        _row(
            f"-h, {option.name}" if option.name == "--help" else f"    {option.usage}",
            option.text + (f"\n  Default: {option.default}" if option.default else ""),
        )
        for option in sorted(options.values(), key=lambda option: option.name)
    ]
    parts = (command.text, "USAGE", usage, "DESCRIPTION", command.text, "PARAMETERS", *rows, "OPTIONS")
    return "\n" + "\n\n".join(parts) + "\n\n" + "\n".join(described) + "\n\n" + textwrap.fill(EPILOGUE, WIDTH)


def _row(name: str, text: str) -> str:
    indent = "\n" + " " * 26
    body = text.replace("\n", indent)
    return f"  {name}{indent}{body}" if len(name) > 22 else f"  {name:<24}{body}"  # noqa: PLR2004  column of the texts


def root_help() -> str:
    """Return what `neo4j-admin` without a command prints."""
    return f"""Usage: neo4j-admin [-hV] [--expand-commands] [--verbose] [COMMAND]
Neo4j database administration tool.
      --expand-commands   Allow command expansion in config value evaluation.
  -h, --help              Show this help message and exit.
  -V, --version           Print version information and exit.
      --verbose           Prints additional information.
Commands:
  version   Print version information and exit.
  help      Display help information about the specified command.
  database  Database-specific administration tasks.
  dbms      DBMS-wide (for single and clustered environments) administration tasks.
  server    Server-wide administration tasks.
  backup    Backup-specific administration tasks.

{EPILOGUE}"""
