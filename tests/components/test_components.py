"""The servers of the tests have the properties on which other tests rely."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import botocore.exceptions
import neo4j
import pytest

from tests.components.cache import cached
from tests.components.java import digest, fetch_jars
from tests.components.neo4j_community import CommunityServer, jars
from tests.components.pins import JARS, JAVA_COMPILER, NEO4J_VERSIONS
from tests.components.ports import Port
from tests.components.prometheus import Prometheus, check_metrics
from tests.components.seaweedfs import BUCKET, WRITE_ONLY, SeaweedFS


def test_a_component_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_BACKUP_AGENT_CACHE", str(tmp_path))
    fetched: list[Path] = []

    def fetch(folder: Path) -> None:
        fetched.append(folder)
        (folder / "jar").touch()

    first, second = cached("thing", fetch), cached("thing", fetch)

    assert [tmp_path / "thing"] * 2 == [first, second]
    assert len(fetched) == 1
    assert (first / "jar").exists()


def test_a_fetch_that_failed_leaves_nothing_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_BACKUP_AGENT_CACHE", str(tmp_path))

    def fetch(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("cut")

    with pytest.raises(OSError, match="cut"):
        cached("thing", fetch)

    assert [tmp_path / ".thing.lock"] == list(tmp_path.iterdir())


def test_a_port_is_not_reserved_twice() -> None:
    ports = [Port.reserve() for _ in range(20)]

    assert len({port.number for port in ports}) == 20

    for port in ports:
        port.release()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_server_does_not_outlive_tests_that_are_killed(tmp_path: Path, number: signal.Signals) -> None:
    start = (
        "import signal, sys; from pathlib import Path; from tests.components.process import Server;"
        "server = Server(Path(sys.argv[1])); server._launch(('sleep', '600'), lambda: True, environment={});"
        "print(server.pid, flush=True); signal.pause()"
    )
    tests = subprocess.Popen(
        (sys.executable, "-c", start, str(tmp_path / "log")), stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    with tests:
        assert tests.stdout is not None
        server = os.pidfd_open(int(tests.stdout.readline()))
        tests.send_signal(number)

    ended, _, _ = select.select([server], [], [], 10)  # the pipe is readable when the process has ended
    os.close(server)

    assert ended


@pytest.mark.nightly
def test_seaweedfs_keeps_acknowledged_objects_after_a_kill(seaweedfs: SeaweedFS) -> None:
    client = seaweedfs.client()
    client.put_object(Bucket=BUCKET, Key="kept", Body=b"content")

    seaweedfs.kill()
    seaweedfs.start()

    assert client.get_object(Bucket=BUCKET, Key="kept")["Body"].read() == b"content"


def test_seaweedfs_refuses_reading_to_the_write_only_identity(seaweedfs: SeaweedFS) -> None:
    client = seaweedfs.client(WRITE_ONLY)
    client.put_object(Bucket=BUCKET, Key="written", Body=b"content")

    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        client.get_object(Bucket=BUCKET, Key="written")


def test_seaweedfs_serves_tls_with_its_own_ca(seaweedfs_tls: SeaweedFS) -> None:
    assert seaweedfs_tls.endpoint_url.startswith("https://")
    assert [bucket["Name"] for bucket in seaweedfs_tls.client().list_buckets()["Buckets"]] == [BUCKET]


def test_neo4j_answers_with_and_without_tls(
    community_server: Callable[[str], CommunityServer], neo4j_version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = community_server(neo4j_version)
    # `bolt+s` trusts the authorities of the system, which this variable of OpenSSL replaces.
    monkeypatch.setenv("SSL_CERT_FILE", str(server.ca_file))

    for uri in (server.uri, server.tls_uri):
        with neo4j.GraphDatabase.driver(uri, auth=(server.username, server.password)) as driver:
            rows = driver.execute_query("CALL dbms.components() YIELD name, versions").records

            assert [neo4j_version] == next(row["versions"] for row in rows if row["name"] == "Neo4j Kernel")


def test_prometheus_answers_queries(prometheus: Callable[..., Prometheus]) -> None:
    server = prometheus("127.0.0.1:9")

    assert server.query("absent_metric") == []
    assert server.query("vector(1)")[0]["value"][1] == "1"


@pytest.mark.usefixtures("prometheus")
def test_promtool_finds_a_badly_named_metric() -> None:
    page = b"# HELP %s x\n# TYPE %s counter\n%s 1\n"

    assert check_metrics(page.replace(b"%s", b"runs_total")) == ""
    assert "_total" in check_metrics(page.replace(b"%s", b"runs"))


@pytest.mark.components
def test_jars_that_are_not_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"are not those of pins\.py"):
        fetch_jars(tmp_path, "0" * 64, JAVA_COMPILER)


@pytest.mark.components
@pytest.mark.parametrize("version", NEO4J_VERSIONS)
def test_the_jars_of_the_cache_are_the_pinned_ones(version: str) -> None:
    assert digest(jars(version)) == JARS[version]
