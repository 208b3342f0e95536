"""What the blocks of a restore are made from, and the blocks that every restore has."""

from dataclasses import dataclass

from backup_agent.core.artifacts.names import DatabaseName, lowered
from backup_agent.core.artifacts.records import Definition
from backup_agent.core.escaping import shell_word
from backup_agent.core.restore import statements
from backup_agent.core.restore.asked import artifact_id
from backup_agent.core.restore.facts import Known, Source
from backup_agent.core.restore.machines import RECEIVE, Machine, Server
from backup_agent.core.restore.ways import Way

SHELL, CYPHER = "sh", "cypher"

UNKNOWN_SERVER = Server(host="<SERVER>", id="<SERVER-ID>")
"""A server of which nothing is known. Every line with these texts fails until they are replaced."""

_DROPPING = (Way.SEED, Way.ONE_SERVER)
"""Ways that drop the existing database, and with it its privileges."""


@dataclass(frozen=True)
class Block:
    """Lines that belong together, and where they are entered."""

    where: str
    title: str
    lines: tuple[str, ...] = ()
    language: str = SHELL


@dataclass(frozen=True)
class Scene:
    """Everything that the blocks of a restore are made from."""

    source: Source
    known: Known
    way: Way
    target: DatabaseName
    rehearsal: DatabaseName | None
    """Name under which the database is restored and checked before it replaces `target`; None: nothing is replaced."""

    @property
    def server(self) -> Server:
        """The server to which the artifacts are brought."""
        return self.known.servers[0] if self.known.servers else UNKNOWN_SERVER

    @property
    def folder(self) -> str:
        """The folder on that server for the artifacts."""
        if self.way in (Way.SERVER_SEED, Way.SERVER_RECREATE):
            return "/data/seeds" if self.server.is_pod else "/<server.directories.seeds>"
        return f"{'/data' if self.server.is_pod else '/var/tmp'}/restore-{artifact_id(self.source.last.key)}"  # noqa: S108  a folder that only its owner can read

    @property
    def file(self) -> str:
        """The name of the artifact whose restore applies all others."""
        return self.source.last.files[0].name

    @property
    def drops(self) -> bool:
        """Whether the existing database is dropped."""
        return self.rehearsal is not None and self.way in _DROPPING

    @property
    def own_name(self) -> bool:
        """Whether the restored database has the name that it had."""
        return self.target == lowered(self.source.last.database)

    @property
    def aliases(self) -> tuple[DatabaseName, ...]:
        """The aliases of the database: the present ones and the recorded ones."""
        return tuple(dict.fromkeys((*self.known.aliases, *statements.aliases_of(self.source.definition))))

    @property
    def definition(self) -> Definition:
        """The definition of the database, empty if the records have none."""
        return self.source.definition or Definition()

    def on(self, machine: Machine) -> str:
        """Return where a line for a machine is entered."""
        return f"shell with kubectl, {machine}" if machine.is_pod else f"{machine}, as the user that runs Neo4j"


def cypher_block(title: str, *lines: str, database: str = "system") -> Block:
    """Return a block of statements for cypher-shell."""
    return Block(f"cypher-shell -d {shell_word(database)}", title, lines, CYPHER)


def opened_shell(scene: Scene) -> Block:
    """Return the block that opens cypher-shell."""
    title = "Open cypher-shell for the statements below, in a window of its own"
    machine = scene.server if scene.server.is_pod else Machine()
    if not machine.is_pod:
        return Block("a machine that reaches Bolt", title, (machine.cypher_shell("system"),))
    title += ". If Bolt requires TLS, append -a neo4j+ssc://localhost:7687 to cypher-shell"
    where = "shell with kubectl"
    return Block(where, title, (machine.cypher_shell("system"),))


def transport(scene: Scene, *servers: Server) -> Block:
    """Return the block that brings the artifacts to servers."""
    agent = scene.known.agent
    fetch = agent.command("backup-agent", "fetch", scene.source.fetched, "--to", "-")
    lines = [
        line for server in servers for line in (f"{fetch} |", f"  {server.script(RECEIVE, scene.folder, reads=True)}")
    ]
    return Block(
        f"shell with kubectl, {agent} to {', '.join(map(str, servers))}" if agent.is_pod else str(agent),
        "Bring the artifacts to the server. Continue only if each file is OK and the line does not fail; if it does, "
        "enter it again",
        tuple(lines),
    )
