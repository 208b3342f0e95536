from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.capabilities import Capabilities, Version
from backup_agent.core.neo4j.command import (
    MIB,
    Launch,
    Memory,
    backup_argv,
    children_beside_jvms,
    direct_argv,
    environment,
    inspect_argv,
    jvm_flags,
    memory,
    size_text,
)
from backup_agent.core.reasons import PermanentError, Reason

PROGRAM = ("/opt/neo4j/bin/neo4j-admin",)
VERSIONS = ("5.26.31", "2025.04.0", "2025.11.2", "2026.09.0")


def capabilities_of(version: str) -> Capabilities:
    return Capabilities.of(Version.parse(version))


def argv(version: str = "2026.09.0", **changes: object) -> tuple[str, ...]:
    arguments: dict[str, object] = {
        "database": "orders",
        "backup_type": BackupType.FULL,
        "sources": ("server-0:6362", "server-1:6362"),
        "to_path": "/backups/.staging/7/orders",
        "temp_path": "/backups/.staging/7/temp",
    }
    return backup_argv(PROGRAM, capabilities_of(version), **(arguments | changes))  # type: ignore[arg-type]  # a table of changes


@pytest.mark.parametrize("version", VERSIONS)
def test_a_full_backup_has_the_same_arguments_in_every_version(version: str) -> None:
    assert argv(version) == (
        "/opt/neo4j/bin/neo4j-admin",
        "database",
        "backup",
        "--type=FULL",
        "--from=server-0:6362,server-1:6362",
        "--to-path=/backups/.staging/7/orders",
        "--temp-path=/backups/.staging/7/temp",
        "--include-metadata=all",
        "orders",
    )


def test_options_have_a_fixed_order_and_the_database_is_last() -> None:
    everything = argv(
        backup_type=BackupType.DIFF,
        include_metadata="users=alice,bob",
        pagecache=64 * MIB,
        additional_config="/etc/neo4j/more.conf",
        resolve_addresses=True,
    )

    assert everything[1:] == (
        "database",
        "backup",
        "--type=DIFF",
        "--from=server-0:6362,server-1:6362",
        "--to-path=/backups/.staging/7/orders",
        "--temp-path=/backups/.staging/7/temp",
        "--include-metadata=users=alice,bob",
        "--pagecache=64m",
        "--additional-config=/etc/neo4j/more.conf",
        "--remote-address-resolution=true",
        "orders",
    )


def test_the_system_database_is_backed_up_without_metadata() -> None:
    assert not [word for word in argv(database="system") if word.startswith("--include-metadata")]


@pytest.mark.parametrize(
    ("version", "changes", "needed"),
    [
        ("2025.08.1", {"resolve_addresses": True}, "--remote-address-resolution needs neo4j-admin 2025.09.0"),
        ("2025.09.0", {"include_metadata": "users=alice"}, "--include-metadata=users=... needs neo4j-admin 2025.10.0"),
        ("", {"resolve_addresses": True}, "--remote-address-resolution needs neo4j-admin 2025.09.0"),
    ],
)
def test_an_option_that_the_version_lacks_is_refused(version: str, changes: Mapping[str, object], needed: str) -> None:
    with pytest.raises(PermanentError) as refused:
        argv(version, **changes)

    assert refused.value.failure.reason is Reason.ADMIN_MISSING
    assert refused.value.failure.error == f"{needed} or newer (found {version or 'an unknown version'})"


@pytest.mark.parametrize(
    "source",
    ["server-0:6362", "server_0.demo-headless.ns.svc.cluster.local:6362", "10.0.0.1:6362", "[fd00::1%eth0]:6362"],
)
def test_host_names_and_addresses_are_accepted(source: str) -> None:
    assert f"--from={source}" in argv(sources=(source,))


@pytest.mark.parametrize("source", ["server-0", "a:1,b:2", "-x:6362", "a b:1", ":6362", "server:", "server:636200", ""])
def test_an_address_without_host_or_port_is_refused(source: str) -> None:
    with pytest.raises(PermanentError, match="expected host:port") as refused:
        argv(sources=("server-0:6362", source))

    assert refused.value.failure.reason is Reason.SOURCE_UNREACHABLE


def test_a_backup_without_sources_is_refused_because_neo4j_admin_would_use_localhost() -> None:
    with pytest.raises(PermanentError, match="no server is known") as refused:
        argv(sources=())

    assert "neo4j.servers" in refused.value.failure.advice


@pytest.mark.parametrize("metadata", ["everything", "", "users=", "users=a b", "users=a,,b"])
def test_an_unknown_kind_of_metadata_is_refused(metadata: str) -> None:
    with pytest.raises(PermanentError, match="include_metadata"):
        argv(include_metadata=metadata)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("5.26.31", ("backup", "inspect", "--empty", "--show-metadata", "/x")),
        ("2025.06.0", ("backup", "inspect", "--empty", "--show-metadata", "/x")),
        ("2025.07.0", ("backup", "inspect", "--empty", "/x")),
        ("2026.09.0", ("backup", "inspect", "--empty", "/x")),
        ("", ("backup", "inspect", "--empty", "--show-metadata", "/x")),
    ],
)
def test_inspect_shows_metadata_in_every_version(version: str, expected: tuple[str, ...]) -> None:
    assert inspect_argv(PROGRAM, capabilities_of(version), "/x") == (*PROGRAM, *expected)


def test_a_direct_start_runs_the_class_of_neo4j_admin() -> None:
    assert direct_argv("/opt/java/bin/java", "/opt/neo4j", ("-Xmx64m",)) == (
        "/opt/java/bin/java",
        "-Xmx64m",
        "-cp",
        "/opt/neo4j/lib/*",
        "org.neo4j.cli.AdminTool",
    )


@pytest.mark.parametrize(("java", "silenced"), [(17, False), (21, False), (24, True), (25, True)])
def test_java_24_and_later_get_flags_that_silence_warnings(java: int, silenced: bool) -> None:
    flags = jvm_flags(Memory(None, None), java)

    assert silenced == ("--sun-misc-unsafe-memory-access=allow" in flags)
    assert not [flag for flag in flags if flag.startswith("-Xmx")]


@pytest.mark.parametrize(("heap", "small"), [(64, True), (504, True), (512, False), (2048, False)])
def test_a_small_heap_gets_the_serial_collector_and_one_compiler(heap: int, small: bool) -> None:
    flags = jvm_flags(Memory(heap * MIB, None), 21)

    assert f"-Xmx{heap}m" in flags
    assert small == ("-XX:+UseSerialGC" in flags)
    assert small == ("-XX:TieredStopAtLevel=1" in flags)


@pytest.mark.parametrize(
    ("limit", "launch", "parallel", "heap", "pagecache"),
    [
        pytest.param(256, Launch.DIRECT, 1, 64, 8, id="the pod of 256 MiB"),
        pytest.param(128, Launch.DIRECT, 1, 64, 8, id="too small: smallest sizes"),
        pytest.param(512, Launch.DIRECT, 1, 168, 56, id="512 MiB"),
        pytest.param(512, Launch.SCRIPT, 1, 104, 32, id="room for the script's first JVM"),
        pytest.param(512, Launch.AUTO, 1, 104, 32, id="auto: as for the script"),
        pytest.param(1024, Launch.DIRECT, 2, 192, 64, id="two runs at the same time"),
        pytest.param(65536, Launch.DIRECT, 1, 2048, 8192, id="largest sizes"),
    ],
)
def test_heap_and_page_cache_depend_on_the_memory_limit(
    limit: int, launch: Launch, parallel: int, heap: int, pagecache: int
) -> None:
    assert memory(limit * MIB, None, None, launch=launch, parallel=parallel) == Memory(heap * MIB, pagecache * MIB)


@pytest.mark.parametrize(
    ("limit", "launch", "parallel", "children"),
    [
        pytest.param(256, Launch.DIRECT, 1, 0, id="the pod of 256 MiB: they take turns"),
        pytest.param(128, Launch.DIRECT, 1, 0, id="too small for the JVM"),
        pytest.param(512, Launch.DIRECT, 1, 2, id="half of what the smallest JVM leaves"),
        pytest.param(512, Launch.AUTO, 1, 1, id="less beside the script's first JVM"),
        pytest.param(512, Launch.DIRECT, 2, 0, id="less beside two runs"),
        pytest.param(1024, Launch.DIRECT, 1, 3, id="no more than destinations"),
    ],
)
def test_children_of_destinations_stay_beside_a_jvm_if_there_is_memory(
    limit: int, launch: Launch, parallel: int, children: int
) -> None:
    assert children_beside_jvms(limit * MIB, 3, launch=launch, parallel=parallel) == children
    assert children_beside_jvms(None, 3, launch=launch, parallel=parallel) == 3


def test_children_of_destinations_take_memory_from_neo4j_admin() -> None:
    assert memory(512 * MIB, None, None, children=1) == Memory(136 * MIB, 48 * MIB)


def test_without_a_limit_neo4j_admin_decides() -> None:
    assert memory(None, None, None) == Memory(None, None)


def test_sizes_of_heap_and_page_cache_in_the_settings_are_used() -> None:
    assert memory(256 * MIB, 100 * MIB, None) == Memory(100 * MIB, 8 * MIB)
    assert memory(256 * MIB, None, 24 * MIB) == Memory(64 * MIB, 24 * MIB)
    assert memory(None, 100 * MIB, 24 * MIB) == Memory(100 * MIB, 24 * MIB)


@given(st.integers(320 * MIB, 2**40), st.integers(1, 8), st.sampled_from(Launch), st.integers(0, 4))
def test_heap_and_page_cache_leave_room_for_the_agent(
    limit: int, parallel: int, launch: Launch, destinations: int
) -> None:
    children = children_beside_jvms(limit, destinations, launch=launch, parallel=parallel)
    chosen = memory(limit, None, None, launch=launch, parallel=parallel, children=children)

    assert chosen.heap is not None
    assert chosen.pagecache is not None
    smallest = chosen == Memory(64 * MIB, 8 * MIB)
    assert smallest or (chosen.heap + chosen.pagecache) * parallel < limit - 80 * MIB - children * 64 * MIB


@pytest.mark.parametrize(
    ("size", "text"), [(64 * MIB, "64m"), (3 * 1024 * MIB, "3072m"), (1536 * 1024, "1536k"), (1, "1k")]
)
def test_sizes_are_written_for_java_and_neo4j(size: int, text: str) -> None:
    assert text == size_text(size)


def test_the_environment_is_passed_on_without_possible_secrets() -> None:
    parent = {
        "PATH": "/usr/bin",
        "JAVA_HOME": "/opt/java",
        "JAVA_OPTS": "-Xmx8g",
        "NEO4J_PASSWORD": "hush",
        "NEO4J_AUTH": "neo4j/hush",
        "NEO4J_server_x_password": "hush",
        "VAULT_TOKEN": "hush",
        "GOOGLE_APPLICATION_CREDENTIALS": "/hush",
        "OUR_WRAPPER_MODE": "fast",
        "AWS_SECRET_ACCESS_KEY": "hush",
        "BACKUP_AGENT_NEO4J__URI": "neo4j://x",
        "BACKUP_AGENT_RUN": "1:2:/backups",
        "TZ": "Europe/Berlin",
        "LANG": "de_DE.UTF-8",
        "NEO4J_CONF": "/elsewhere",
        "NEO4J_HOME": "/elsewhere",
        "HEAP_SIZE": "8g",
    }

    assert environment(parent, conf="/run/conf", home="/opt/neo4j", heap=64 * MIB) == {
        "PATH": "/usr/bin",
        "JAVA_HOME": "/opt/java",
        "OUR_WRAPPER_MODE": "fast",
        "LANG": "de_DE.UTF-8",
        "BACKUP_AGENT_RUN": "1:2:/backups",
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
        "MALLOC_ARENA_MAX": "2",
        "NEO4J_CONF": "/run/conf",
        "NEO4J_HOME": "/opt/neo4j",
        "HEAP_SIZE": "64m",
    }


def test_unknown_home_and_heap_are_not_set() -> None:
    assert environment({}, conf="/run/conf").keys() == {"TZ", "LC_ALL", "MALLOC_ARENA_MAX", "NEO4J_CONF"}
