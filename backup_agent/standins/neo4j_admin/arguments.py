"""The command line of `neo4j-admin`: tables of commands and options by version, and a parser that imitates picocli.

argparse is not used because picocli differs from it: `--from a:1 orders` reads `orders` as a second server
(`--from=a:1 orders` does not), `--compress` takes an optional value, values ignore case, and a repeated option is an
error. Error messages are those of Neo4j Community 5.26.31 and 2026.09.0.
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
    """One option. Its `kind` is flag (no value), switch ([=true|false]), value, or list (greedy, comma-separated)."""

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
        """The option as shown in a synopsis."""
        return {
            "flag": self.name,
            "switch": f"{self.name}[=true|false]",
            "value": f"{self.name}={self.label}",
            "list": f"{self.name}={self.label}",
        }[self.kind]


@dataclass(frozen=True)
class Command:
    """One command and the options of all its versions."""

    words: tuple[str, ...]
    text: str
    options: tuple[Option, ...]
    parameter: str
    parameter_text: str
    since: Version = ()

    def options_of(self, version: Version) -> dict[str, Option]:
        """Return the options of one version, by name."""
        return {option.name: option for option in self.options if option.since <= version < option.until}


@dataclass(frozen=True)
class Arguments:
    """A parsed command line: values by option name, lists by option name, and positional parameters."""

    command: Command
    values: dict[str, str | bool]
    lists: dict[str, list[str]]
    parameters: tuple[str, ...] = ()

    def text(self, name: str) -> str | None:
        """Return the value of an option; None if it was not given."""
        value = self.values.get(name)
        return value if isinstance(value, str) else None

    def on(self, name: str, *, default: bool = False) -> bool:
        """Tell whether a flag or switch is on."""
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
        # Accepted but without effect since 2025.07.
        Option("--show-metadata", "flag", "Show the metadata of the backups."),
    ),
    "<backup-path>",
    "A folder of backups, or one backup.",
    since=(5, 25),
)
RESTORE = Command(
    ("database", "restore"),
    "Restore a backed up database.",
    (
        *COMMON,
        Option("--from-path", "value", "The last artifact of the chain.", "<path>"),
        Option("--overwrite-destination", "switch", "Replace an existing database.", default="false"),
        Option("--restore-until", "value", "Cut the last artifact before a time or a transaction.", "<point>"),
        Option("--temp-path", "value", "An empty folder for temporary files.", "<path>", since=(5, 24)),
    ),
    "<database>",
    "Name of the database after the restore.",
)
CHECK = Command(
    ("database", "check"),
    "Check the consistency of a database.",
    (
        *COMMON,
        Option("--max-off-heap-memory", "value", "Memory outside the heap.", "<size>"),
        Option("--report-path", "value", "Folder of the report.", "<path>"),
    ),
    "<database>",
    "Name of the database to check.",
)
COMMANDS = (BACKUP, INSPECT, RESTORE, CHECK)
ELSEWHERE = {
    "database": ("aggregate-backup", "copy", "dump", "import", "info", "load", "migrate"),
    "backup": ("aggregate", "validate"),
    "dbms": ("set-initial-password", "unbind-system-db"),
    "server": ("license", "unbind"),
}
"""Commands of Neo4j that the stand-in rejects as not simulated."""


def find(argv: list[str], version: Version) -> Command:
    """Return the command that `argv` begins with. Raise CommandError if it is unknown, as Neo4j does."""
    for command in COMMANDS:
        if tuple(argv[: len(command.words)]) == command.words and version >= command.since:
            return command
    category = argv[0]
    known = ELSEWHERE.get(category)
    if known and len(argv) > 1 and argv[1] in known:
        raise CommandError(f"The stand-in has no '{category} {argv[1]}': use a real Neo4j for it")
    if not known:
        raise unmatched(argv, 0, tuple(ELSEWHERE))
    simulated = (command.words[1] for command in COMMANDS if command.words[0] == category and version >= command.since)
    raise unmatched(argv, 1, (*known, *simulated))


def unmatched(argv: list[str], index: int, known: tuple[str, ...]) -> CommandError:
    """Return the error for an unknown command, with similar known ones."""
    import difflib  # noqa: PLC0415  needed for typos only; a global import would slow every start

    left = ", ".join(f"'{argument}'" for argument in argv[index:])
    near = difflib.get_close_matches(argv[index] if index < len(argv) else "", known, n=2, cutoff=0.4)
    lines = [f"Unmatched arguments from index {index}: {left}"]
    if near:
        lines.append(f"Did you mean: {' or '.join(' '.join((*argv[:index], word)) for word in near)}?")
    return CommandError("\n".join(lines), exit_code=Exit.UNKNOWN_COMMAND, framed=False)


def expanded(argv: list[str]) -> list[str]:
    """Replace each `@file` by the words in that file, if it exists; `@@text` becomes `@text`."""
    import shlex  # noqa: PLC0415  needed by few calls; a global import would slow every start

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
    """Parse the arguments of a command. Raise CommandError with exit code 64 if picocli would reject them."""
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
    """Remove an option's values from `words`: one word, or for a list all words up to the next option."""
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
    """Return names and patterns in lower case, as Neo4j stores them. Raise CommandError if one is not a valid name."""
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
    """Return the error for a missing option or parameter."""
    return _usage(f"Missing required {what}")


def invalid(option: str, why: str) -> CommandError:
    """Return the error for an invalid value of an option."""
    return _usage(f"Invalid value for option '{option}': {why}")


def exclusive(first: str, second: str) -> CommandError:
    """Return the error for two options that exclude each other."""
    return _usage(f"Error: {first}, {second} are mutually exclusive (specify only one)")


def _usage(message: str) -> CommandError:
    return CommandError(message, exit_code=Exit.USAGE, framed=False)


def help_text(command: Command, version: Version) -> str:
    """Return a command's help in Neo4j's layout."""
    import textwrap  # noqa: PLC0415  needed for help and errors only; a global import would slow every start

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
    return f"  {name}{indent}{body}" if len(name) > 22 else f"  {name:<24}{body}"  # noqa: PLR2004  the column in which the texts begin


def root_help() -> str:
    """Return the text that `neo4j-admin` prints if it is called without a command."""
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
