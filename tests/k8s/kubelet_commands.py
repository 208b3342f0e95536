"""Stand in for the commands of kubectl that need a kubelet, where no pod runs: exec, logs, run and port-forward.

`python -m tests.k8s.kubelet_commands KUBECTL WORDS…` exits 0 if the command could be run: the pod exists, and the program in
it knows the command. Commands of the agent are parsed by the agent's own command line. A pod of `run` is checked by the
API server. `get --watch` ends at once.
"""

import subprocess
import sys
from collections.abc import Sequence

import click

from backup_agent.cli.main import group

NEO4J_ADMIN = {("database", "info"), ("database", "dump"), ("database", "load"), ("dbms", "unbind-system-db")}
"""The commands of neo4j-admin that the runbooks use, by Neo4j's manual."""

OTHERS = {"cypher-shell", "date", "rm", "sh"}
"""Programs whose arguments are not checked."""


def check(words: Sequence[str]) -> None:
    """Raise an error if a program in a pod does not know a command."""
    match words:
        case ["backup-agent", *rest]:
            parse(rest)
        case ["neo4j-admin", topic, name, *_] if (topic, name) in NEO4J_ADMIN:
            return
        case [program, *_] if program in OTHERS:
            return
        case _:
            raise click.UsageError(f"unknown command: {' '.join(words)}")


def parse(words: Sequence[str]) -> None:
    """Parse a command of the agent without running it. Raise UsageError if it is wrong."""
    context = group.make_context("backup-agent", list(words))
    while isinstance(context.command, click.Group):
        name, command, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        context = command.make_context(name, rest, parent=context)


def stand_in(kubectl: str, words: Sequence[str]) -> int:
    """Return the exit code of a command of kubectl."""

    def real(*given: str) -> int:
        return subprocess.run((kubectl, *given), check=False).returncode

    own = list(words[: words.index("--")] if "--" in words else words)
    pod = next((word for word in own[1:] if not word.startswith("-")), "")
    match own[0]:
        case "exec":
            check(words[len(own) + 1 :])
            return real("get", "pod", pod, "--output=name")
        case "logs" | "port-forward":
            return real("get", "pod", pod, "--output=name")
        case "run":
            kept = [word for word in own[1:] if word not in {"--rm", "-i", "-it"}]
            return real("run", "--dry-run=server", *kept, *words[len(own) :])
        case "get":
            return real(*(word for word in words if word not in {"-w", "--watch"}))
        case _:
            return real(*words)


if __name__ == "__main__":
    try:
        sys.exit(stand_in(sys.argv[1], sys.argv[2:]))
    except click.UsageError as fault:
        sys.exit(f"error: {fault.format_message()}")
