"""The supervisor seen from outside: its modules, its log and metrics, its ports, and no secrets."""

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.agent.live import PASSWORD, Live
from tests.builders import artifact_file
from tests.components.ports import Port
from tests.components.prometheus import Prometheus, check_metrics
from tests.jobs.worlds import World, key
from tests.polling import PATIENCE, until

DOCS = Path(__file__).parents[2] / "docs"
LOOKING = Path(__file__).parent / "looking"
EXAMINING = Path(__file__).parent / "examining"
HEAVY = {"neo4j", "boto3", "botocore", "cryptography", "rfc8785", "zstandard", "jinja2"}
SECRET_KEY = "S3-secret-of-the-test"
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKTEST",
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "1",
}


def modules(live: Live) -> set[str]:
    """Return the modules of the live supervisor."""
    target = live.folder / "modules"
    live.signal(signal.SIGUSR1)
    until(target.exists, "list of modules")
    return set(target.read_text().split())


def test_the_live_supervisor_has_loaded_neither_driver_nor_boto3_nor_zstandard(live: Live) -> None:
    live.settings["schedules"] = {"nightly": {"cron": "0 2 * * *", "jitter": "5m"}}
    live.settings["storage"]["destinations"] = {"offsite": _nowhere()}
    path = os.pathsep.join(filter(None, (str(LOOKING), os.environ.get("PYTHONPATH"))))
    live.environ = KEYS | {"PYTHONPATH": path, "LOOK_INTO": str(live.folder / "modules")}
    live.start()
    live.ask(databases=["ord*"], patience=90)
    live.get("/metrics")
    live.status()
    loaded = modules(live)

    assert "backup_agent.supervisor.agent" in loaded
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()


def test_no_secret_is_in_any_file_log_answer_page_or_command_line(live: Live) -> None:
    live.settings["storage"]["destinations"] = {"offsite": _nowhere()}
    live.fault({"do": "slow_checkpoint", "seconds": 4, "database": "orders"})
    live.environ = KEYS | {"NEO4J_PASSWORD": PASSWORD}
    live.start()
    live.drop("x.request", id="one", databases=["ord*", "nowhere"])
    live.until_stage("one")
    shown = [*_of_processes(live, "cmdline"), *_of_programs(live)]
    live.final("one", patience=90)
    shown += [live.get(page)[1].encode() for page in ("/metrics", "/status.json", "/readyz", "/")]
    shown += ["".join(live.text).encode()]
    shown += [path.read_bytes() for path in _files(live.folder) if path.name != "password"]

    assert len(shown) > 15
    assert [content for content in shown if PASSWORD.encode() in content or SECRET_KEY.encode() in content] == []


def test_a_finished_run_has_one_log_line_with_every_field(live: Live) -> None:
    live.start()
    live.ask(id="one", database="orders", type="FULL")
    line = until(lambda: live.events("backup ended"), "canonical line")[0]

    assert {
        "request": "one",
        "database": "orders",
        "set": "default",
        "cluster": "demo",
        "outcome": "succeeded",
        "type": "FULL",
        "exit_code": 0,
        "level": "info",
    }.items() <= line.items()
    assert {"artifact", "size", "sha256", "duration_seconds", "stages", "source", "admin_version"} <= line.keys()


DASHBOARD = json.loads((DOCS / "dashboard.json").read_text())


def of_dashboard(cluster: str) -> dict[str, str]:
    """Return the title of its panel for each query of the dashboard, as Grafana sends it for a cluster."""
    return {
        target["expr"]
        .replace("$cluster", cluster)
        .replace("$namespace", ".*")
        .replace("$database", "(neo4j|orders)"): panel["title"]
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    }


def busy(live: Live) -> None:
    """Let the agent delete, back up, fail, drill, verify and copy, and then hang while a request waits."""
    live.fault({"do": "exit_1", "command": "backup", "database": "neo4j"})
    live.ask(databases=["neo4j", "orders"], patience=90)
    live.ask(action="drill", database="orders", patience=90)
    live.ask(action="verify", patience=90)
    live.fault({"do": "hang", "command": "backup"})
    live.settings["storage"]["destinations"] = {"offsite": _nowhere()}
    live.write_settings()
    for identity in ("long", "waiting"):
        live.drop(f"{identity}.request", id=identity, database="orders", type="FULL")
    live.until_stage("long")


def aged(live: Live) -> None:
    """Put artifacts on the volume, of which one is to be deleted. By the two newest, the volume will soon be full."""
    world = World(live.root)
    for days in (3, 2.2 / 24):
        world.add(days, 1, 10, database="neo4j")
    newest, data = key(1 / 24, "neo4j"), bytes(16 << 20)
    world.add(1 / 24, 1, 10, database="neo4j", files=(artifact_file(Path(newest).name, data),))
    world.put(newest, data)


def test_prometheus_accepts_the_metrics_at_any_moment_and_every_query_of_the_dashboard_has_series(
    live: Live, prometheus: Callable[..., Prometheus]
) -> None:
    port = Port.reserve()
    aged(live)
    live.settings["http"] |= {"listen": f"127.0.0.1:{port.number}"}
    live.settings["schedules"] = {"nightly": {"cron": "0 2 * * *"}}
    live.settings["retention"] = {"last": 2, "max_delete_share": 1}
    live.settings["drill"] = {"level": "restore"}
    path = os.pathsep.join(filter(None, (str(EXAMINING), os.environ.get("PYTHONPATH"))))
    live.environ = KEYS | {"PYTHONPATH": path}
    live.start()
    pages = [live.get("/metrics")[1]]
    busy(live)
    pages.append(live.get("/metrics")[1])
    server = prometheus(f"127.0.0.1:{port.number}", rules=(DOCS / "alerts.yaml",))
    missing = of_dashboard("demo")

    def all_shown() -> bool:
        for query in [query for query in missing if server.query(query)]:
            del missing[query]
        return not missing

    with suppress(AssertionError):
        until(all_shown, "series of each query", pause=0.5)
    port.release()

    assert missing == {}
    shown = {title for query, title in of_dashboard("nowhere").items() if server.query(query)}
    assert shown == {"Absent agents"}
    for variable in DASHBOARD["templating"]["list"]:
        if variable["name"] in ("cluster", "database"):
            selector, label = variable["query"].removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
            query = selector.replace("$cluster", ".*").replace("$namespace", ".*")
            assert server.query(f"count by ({label}) ({query})")[0]["metric"].keys() == {label}
    assert [check_metrics(page.encode()) for page in pages] == ["", ""]
    assert "neo4j_backup_drill_passed_timestamp_seconds" not in pages[0]
    assert "neo4j_backup_in_progress_seconds{" in pages[1]
    assert server.query("neo4j_backup_owed") == []


@pytest.mark.parametrize(
    "first",
    [pytest.param(b"", marks=pytest.mark.nightly), b"GET /livez HTTP/1.1\r\nX: ", b"GET /status.json HTTP/1.1\r\n\r\n"],
    ids=["silent", "slow", "unread"],
)
def test_hundreds_of_clients_on_both_ports_keep_neither_probes_nor_backups_waiting(live: Live, first: bytes) -> None:
    live.start()
    with ExitStack() as flood:
        for port in (live.port, live.probes_port):
            for _ in range(230):
                client = flood.enter_context(socket.create_connection(("127.0.0.1", port or 0), timeout=10))
                client.sendall(first)
        times = []
        for _ in range(10):
            begun = time.monotonic()
            assert live.get("/livez") == (200, "ok\n")
            assert live.get("/readyz") == (200, "ok\n")
            times.append(time.monotonic() - begun)

        assert max(times) < 5
        assert live.ask(database="orders")["state"] == "succeeded"
        assert live.get("/metrics")[0] == 200


def test_the_error_for_a_port_in_use_has_only_the_setting_and_the_port(live: Live) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        live.settings["http"] |= {"probes": f"127.0.0.1:{port}"}
        live.start(ready=False)
        assert live.process is not None
        code = live.process.wait(timeout=PATIENCE)
        live.reader.join(timeout=PATIENCE)

    assert code == 1
    assert live.text == [
        f"backup-agent: http.probes: cannot listen on 127.0.0.1:{port}: Address already in use\n",
        "HINT: end the process that listens there, or set http.probes to a free port\n",
    ]


def test_each_port_serves_its_own_pages_only(live: Live) -> None:
    live.start()

    for port, served, refused in (
        (live.port, "/metrics", "/livez"),
        (live.port, "/metrics", "/status.json"),
        (live.probes_port, "/livez", "/metrics"),
        (live.page_port, "/status.json", "/metrics"),
    ):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{served}", timeout=10) as reply:
            assert reply.status == 200
        with pytest.raises(urllib.error.HTTPError, match="404") as error:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{refused}", timeout=10)
        error.value.close()


def _nowhere() -> dict[str, object]:
    """Return a destination whose port no server listens on."""
    return {"type": "s3", "bucket": "nowhere", "endpoint_url": "http://127.0.0.1:1", "path_style": True}


def _of_processes(live: Live, name: str) -> Iterator[bytes]:
    """Yield the content of a file of /proc for the agent and each of its processes."""
    assert live.process is not None
    for pid in (live.process.pid, *live.processes()):
        yield Path(f"/proc/{pid}/{name}").read_bytes()


def _of_programs(live: Live) -> list[bytes]:
    """Return the environment of neo4j-admin, which needs no secret."""
    found = [
        Path(f"/proc/{pid}/environ").read_bytes()
        for pid in live.processes()
        if b"\0database\0backup\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert found
    return found


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
