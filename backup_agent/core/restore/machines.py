"""The machines on which the lines of a restore run: pods of a rendered cluster, or other machines.

In a rendered pod the root file system is read-only, and the artifacts are not mounted in the servers' pods. Therefore
artifacts go through a pipe, and the lines write only to folders that are given by an absolute path.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from backup_agent.core.escaping import shell_word

AGENT_CONTAINER, SERVER_CONTAINER = "backup", "neo4j"
"""Containers of the rendered pods (backup_agent.k8s)."""

LOGIN = "NEO4J_USERNAME=neo4j NEO4J_PASSWORD=$PASSWORD exec"
"""Start of a line that runs cypher-shell in a server's container, which has the password of the user neo4j."""


@dataclass(frozen=True)
class Machine:
    """A pod, or a machine that is reached by ssh. Without pod and host it is the machine of the agent."""

    host: str = ""
    pod: str = ""
    namespace: str = ""
    container: str = SERVER_CONTAINER

    def __str__(self) -> str:
        """Return a name of the machine for people."""
        return self.pod or self.host or "the machine of the agent"

    @property
    def is_pod(self) -> bool:
        """Whether it is a pod."""
        return bool(self.pod)

    def script(self, script: str, *values: str, reads: bool = False) -> str:
        """Return the line that runs a constant script with values as its arguments, until a command of it fails.

        With `reads` the script gets standard input, and the line works on another machine too. Without it, the line for
        a machine that is no pod is entered on that machine.
        """
        command = " ".join(("sh -euc", shell_word(script), "-", *map(shell_word, values)))
        if self.is_pod:
            return f"{self._exec('-i' if reads else '')} {command}"
        return f"ssh {shell_word(self.host)} {shell_word(command)}" if reads else command

    def command(self, *words: str) -> str:
        """Return the line that runs a program. The program and its options are trusted, its arguments are quoted."""
        return f"{self._exec()} {' '.join(words)}" if self.is_pod else " ".join(words)

    def cypher_shell(self, database: str) -> str:
        """Return the line that opens cypher-shell on a database."""
        if not self.is_pod:
            return f"cypher-shell -d {shell_word(database)}"
        script = shell_word(f'{LOGIN} cypher-shell -d "$1"')
        return f"{self._exec('-it')} sh -c {script} - {shell_word(database)}"

    @property
    def in_namespace(self) -> str:
        """Options of kubectl for the pod's namespace, with a space before them."""
        return f" -n {shell_word(self.namespace)}" if self.namespace else ""

    def _exec(self, terminal: str = "") -> str:
        options = f"{' ' * bool(terminal)}{terminal}{self.in_namespace}"
        return f"kubectl exec{options} {shell_word(self.pod)} -c {self.container} --"


@dataclass(frozen=True)
class Server(Machine):
    """A server of the cluster."""

    id: str = ""
    """Id of the server in SHOW SERVERS; empty if unknown."""


def servers(cluster: str, known: Iterable[tuple[str, str | None]]) -> tuple[Server, ...]:
    """Return the servers with these host names and ids. The pods of a rendered cluster are known by their host names.

    >>> [one] = servers("demo", [("demo-server-0.demo-headless.prod.svc.cluster.local", None)])
    >>> one.pod, one.namespace
    ('demo-server-0', 'prod')
    """
    pod = re.compile(
        rf"({re.escape(cluster)}-server-[0-9]{{1,4}})\.{re.escape(cluster)}-headless(?:\.([a-z0-9-]{{1,63}}))?(?:\.|$)"
    )
    found: dict[str, Server] = {}
    for host, identity in known:
        rendered = pod.match(host)
        # Several servers of one machine have one host name.
        found[identity or host] = Server(
            host=host,
            pod=rendered[1] if rendered else "",
            namespace=(rendered[2] or "") if rendered else "",
            id=identity or "",
        )
    return tuple(sorted(found.values(), key=lambda one: (not one.is_pod, len(one.host), one.host, one.id)))


def agent_of(cluster: str, known: Iterable[Server]) -> Machine:
    """Return the machine of the agent: its pod if the servers are rendered pods."""
    pod = next((one for one in known if one.is_pod), None)
    if pod is None:
        return Machine()
    return Machine(pod=f"{cluster}-backup-0", namespace=pod.namespace, container=AGENT_CONTAINER)


RECEIVE = """umask 077
rm -rf "$1.part"
mkdir -p "$1" "$1.part"
[ -O "$1" ]
cd "$1.part"
tar -xf -
sha256sum -c SHA256SUMS
rm SHA256SUMS
mv -- * "$1/"
rmdir "$1.part\""""
"""Script that unpacks the output of `fetch` into a folder, its argument.

A pipe through kubectl can be cut without an error. Therefore the files are unpacked beside the folder, and moved into
it after their SHA-256 were checked. `SHA256SUMS` is the last file of the output, and is missing after a cut.
"""
