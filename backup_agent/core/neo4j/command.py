"""How neo4j-admin is called: arguments, environment and memory.

The environment of the child process contains no variable that may be a secret, since neo4j-admin writes its environment
into crash reports. Options are always written with `=` and the database comes last, because an option that accepts
several values would take the next word as one of them (manual, cli).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from backup_agent.core.artifacts.names import SYSTEM, DatabaseName
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.capabilities import TABLE, Capabilities, Capability
from backup_agent.core.reasons import PermanentError, Reason

MIB = 1024 * 1024

ADMIN_CLASS = "org.neo4j.cli.AdminTool"

# Variables that are not passed on. This is a deny list because a script that wraps neo4j-admin may need variables that
# the agent does not know. JAVA_OPTS is denied because it would override HEAP_SIZE.
_DENIED = re.compile(
    r"AWS_.*|NEO4J_(?:AUTH|USERNAME).*|BACKUP_AGENT_.*|JAVA_OPTS|HEAP_SIZE"
    r"|.*(?:PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|PRIVATE|ACCESS_?KEY|API_?KEY).*",
    re.IGNORECASE,
)
_ALLOWED = frozenset({"BACKUP_AGENT_RUN"})
"""Exceptions from the deny list. A restarted agent finds leftover processes by this variable (`processes`)."""

_ADDRESS = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9]+)?\]):[0-9]{1,5}")
_METADATA = re.compile(r"none|all|users|roles|users=[^\s,=]+(?:,[^\s,=]+)*")


class Launch(StrEnum):
    """How neo4j-admin is started: SCRIPT is its shell script (two JVMs), DIRECT its class in one JVM.

    AUTO is DIRECT, and SCRIPT if the class does not start.
    """

    AUTO = "auto"
    SCRIPT = "script"
    DIRECT = "direct"


def backup_argv(
    program: tuple[str, ...],
    capabilities: Capabilities,
    *,
    database: DatabaseName,
    backup_type: BackupType,
    sources: tuple[str, ...],
    to_path: str,
    temp_path: str,
    include_metadata: str = "all",
    pagecache: int | None = None,
    additional_config: str | None = None,
    resolve_addresses: bool = False,
) -> tuple[str, ...]:
    """Return the arguments that back up one database.

    `sources` are host:port in the order to try. `pagecache` is in bytes. `resolve_addresses` lets the cluster choose
    the servers, which backups of shards need. Raise PermanentError if neo4j-admin would refuse or misread an argument.
    """
    options = [f"--type={backup_type}", f"--from={_from(sources)}", f"--to-path={to_path}", f"--temp-path={temp_path}"]
    if database != SYSTEM:  # "cannot be used for backing up the system database" (manual)
        options.append(f"--include-metadata={_metadata(include_metadata, capabilities)}")
    if pagecache is not None:
        options.append(f"--pagecache={size_text(pagecache)}")
    if additional_config is not None:
        options.append(f"--additional-config={additional_config}")
    if resolve_addresses:
        _need(Capability.REMOTE_ADDRESS_RESOLUTION, capabilities)
        options.append(f"{Capability.REMOTE_ADDRESS_RESOLUTION}=true")
    return (*program, "database", "backup", *options, database)


def inspect_argv(program: tuple[str, ...], capabilities: Capabilities, path: str) -> tuple[str, ...]:
    """Return the arguments that print the header of the artifact at `path`, which may be an empty differential."""
    _need(Capability.INSPECT, capabilities)
    # Some versions print only file names without this option, and all others ignore it.
    needs_flag = capabilities.version is None or Capability.SHOW_METADATA in capabilities.has
    options = (Capability.SHOW_METADATA.value,) if needs_flag else ()
    return (*program, "backup", "inspect", "--empty", *options, path)


def direct_argv(java: str, home: str, flags: tuple[str, ...]) -> tuple[str, ...]:
    """Return the arguments that start neo4j-admin's class in one JVM. Java itself expands `lib/*`."""
    return (java, *flags, "-cp", f"{home}/lib/*", ADMIN_CLASS)


def _from(sources: tuple[str, ...]) -> str:
    if not sources:
        raise PermanentError(
            Reason.SOURCE_UNREACHABLE,
            "no server is known from which to take the backup",
            "set neo4j.servers to the host:port of the servers' backup listeners",
        )
    for source in sources:
        if not _ADDRESS.fullmatch(source):
            raise PermanentError(
                Reason.SOURCE_UNREACHABLE, f"address of a backup listener: expected host:port (got {source[:80]!r})"
            )
    return ",".join(sources)


def _metadata(include_metadata: str, capabilities: Capabilities) -> str:
    if not _METADATA.fullmatch(include_metadata):
        raise PermanentError(
            Reason.INVALID_REQUEST,
            f"neo4j.include_metadata: expected all, none, users, roles or users=NAME,... (got {include_metadata!r})",
        )
    if include_metadata.startswith("users="):
        _need(Capability.METADATA_USERS, capabilities)
    return include_metadata


def _need(capability: Capability, capabilities: Capabilities) -> None:
    if capability not in capabilities.has:
        since = next(row.since for row in TABLE if row.capability is capability)
        raise PermanentError(
            Reason.ADMIN_MISSING,
            f"{capability} needs neo4j-admin {since} or newer (found {capabilities.version or 'an unknown version'})",
        )


def size_text(size: int) -> str:
    """Format a size in bytes so that both Java and Neo4j can read it.

    >>> size_text(64 * 1024 * 1024), size_text(1536 * 1024)
    ('64m', '1536k')
    """
    return f"{size // MIB}m" if size % MIB == 0 else f"{max(1, size // 1024)}k"


# Memory that is not heap, measured on 2026.09.0, which needs more than 5.26.
AGENT = 80 * MIB  # supervisor (45), child process of the run (30), and a margin
JVM = 88 * MIB  # metaspace, compiled code, threads: a JVM with a heap of 64 MiB peaks at 124 to 140
LAUNCHER = 128 * MIB  # the script's first JVM, which waits for the second
_DESTINATION = 64 * MIB  # a child that works at a destination: 49 MiB with boto3 and a client, and a margin for buffers
SMALLEST_HEAP, _LARGEST_HEAP = 64 * MIB, 2048 * MIB
_SMALLEST_PAGECACHE, _LARGEST_PAGECACHE = 8 * MIB, 8192 * MIB
_STEP = 8 * MIB
# Below this size one garbage collector thread and one compiler are used, since the JVM's defaults need more memory.
_SMALL_HEAP = 512 * MIB


@dataclass(frozen=True)
class Memory:
    """Sizes for one neo4j-admin in bytes. None leaves the choice to neo4j-admin."""

    heap: int | None
    pagecache: int | None


def children_beside_jvms(
    limit: int | None, destinations: int, *, launch: Launch = Launch.DIRECT, parallel: int = 1
) -> int:
    """Return how many children may work at destinations while `parallel` JVMs run, at most one for each destination.

    They get at most half of the memory of the cgroup that the agent and the smallest JVMs leave.

    >>> [children_beside_jvms(limit * MIB, 3) for limit in (256, 384, 512, 1024)]
    [0, 1, 2, 3]
    """
    if limit is None:
        return destinations
    smallest = JVM + SMALLEST_HEAP + _SMALLEST_PAGECACHE + (LAUNCHER if launch is not Launch.DIRECT else 0)
    left = limit - AGENT - parallel * smallest
    return max(0, min(destinations, left // 2 // _DESTINATION))


def memory(
    limit: int | None,
    heap: int | None,
    pagecache: int | None,
    *,
    launch: Launch = Launch.DIRECT,
    parallel: int = 1,
    children: int = 0,
) -> Memory:
    """Choose heap and page cache for a memory limit of the cgroup. Sizes from the settings are used as they are.

    `children` is the number of children that may work at destinations meanwhile. The heap gets half of the memory that
    agent, children and JVM leave free. The page cache, which recovery uses, gets a third of the rest. The remainder is
    for buffers outside the heap, which grow with the heap.
    """
    if limit is None:
        return Memory(heap, pagecache)
    left = (
        (limit - AGENT - children * _DESTINATION) // parallel - JVM - (LAUNCHER if launch is not Launch.DIRECT else 0)
    )
    if heap is None:
        heap = _between(SMALLEST_HEAP, left // 2, _LARGEST_HEAP)
    if pagecache is None:
        pagecache = _between(_SMALLEST_PAGECACHE, (left - heap) // 3, _LARGEST_PAGECACHE)
    return Memory(heap, pagecache)


def _between(smallest: int, size: int, largest: int) -> int:
    return max(smallest, min(size - size % _STEP, largest))


def jvm_flags(memory: Memory, java: int) -> tuple[str, ...]:
    """Return the flags of a JVM that is started directly. `java` is its major version."""
    flags = [
        "-XX:+ExitOnOutOfMemoryError",  # otherwise the JVM may hang
        "-XX:-UsePerfData",  # performance data would be written to /tmp, which may be read-only
        "-Dfile.encoding=UTF-8",
        "-Dlog4j2.disable.jmx=true",
        # Without the first of these the page cache logs a warning; the others are in Neo4j's default neo4j.conf.
        "--add-opens=java.base/java.nio=ALL-UNNAMED",
        "--add-opens=java.base/java.io=ALL-UNNAMED",
        "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    ]
    if java >= 24:  # noqa: PLR2004  without these, JDK 24 and later print warnings to stderr
        flags += ["--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED"]
    if memory.heap is not None:
        flags.append(f"-Xmx{size_text(memory.heap)}")
        if memory.heap < _SMALL_HEAP:
            flags += ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    return tuple(flags)


def environment(
    parent: Mapping[str, str], *, conf: str, home: str | None = None, heap: int | None = None
) -> dict[str, str]:
    """Return the environment of neo4j-admin. `conf` is the configuration folder of the run, `heap` is in bytes."""
    result = {name: value for name, value in parent.items() if name in _ALLOWED or not _DENIED.fullmatch(name)}
    result |= {
        "TZ": "UTC",  # the names of artifacts contain the local time
        "LC_ALL": "C.UTF-8",  # the agent matches English messages, and file names are UTF-8
        "MALLOC_ARENA_MAX": "2",  # glibc's default, an arena per thread, takes tens of MiB
        "NEO4J_CONF": conf,
    }
    if home is not None:
        result["NEO4J_HOME"] = home
    if heap is not None:
        result["HEAP_SIZE"] = size_text(heap)
    return result
