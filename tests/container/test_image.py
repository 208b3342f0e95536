"""The image: its content, how it runs without privileges, and a backup by a real JVM in it."""

import json
import os
from pathlib import Path

import pytest

from tests.components.containers import CAPPED, CREATED, Podman
from tests.components.pins import NEO4J_VERSIONS
from tests.container.pod import SEED, Pod

UNCOMPILED = """
import pkgutil, sys
from importlib import import_module
from pathlib import Path
import backup_agent, {package}
def is_valid(cached, source):
    if not cached.exists():
        return False
    head = cached.read_bytes()[:16]
    flags, time = (int.from_bytes(head[at : at + 4], "little") for at in (4, 8))
    return bool(flags) or time == int(source.stat().st_mtime)
for found in pkgutil.iter_modules({package}.__path__, "{package}."):
    import_module(found.name)
print([name for name, module in sys.modules.items() if name != "__main__"
       and (cached := getattr(module, "__cached__", None)) and not is_valid(Path(cached), Path(module.__file__))])
"""
"""Prints the modules that Python would compile at each start: without a compiled file, or with one of another time (PEP 552)."""

CLIENT = """
import re, boto3
boto3.session.Session("key", "secret", region_name="eu-central-1").client("s3")
boto3.session.Session("key", "secret", region_name="eu-central-1").client("sts")
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""
"""Makes the clients of S3 and of the service that gives out its credentials, and prints its peak memory."""

HEALTH = ". /opt/backup-agent/bin/healthcheck; echo $?; grep VmHWM /proc/$$/status"
"""Runs the health check in a shell that then prints its peak memory."""


def test_the_image_has_labels_and_runs_as_an_unprivileged_user(podman: Podman, image: str) -> None:
    facts = podman.inspect(image)
    config = facts["Config"]

    assert config["User"] == "7474:7474"
    assert config["Entrypoint"] == ["/opt/backup-agent/bin/backup-agent"]
    assert config["Cmd"] == ["run"]
    base = podman.neo4j(NEO4J_VERSIONS[-1])
    assert {
        f"org.opencontainers.image.{name}": value
        for name, value in {
            "base.digest": podman.inspect(base)["Digest"],
            "base.name": base,
            "created": CREATED,
            "licenses": "Apache-2.0",
            "revision": "of-the-tree",
            "source": "https://git.example.com/neo4j-backup-agent",
            "title": "neo4j-backup-agent",
            "version": "0.0.0-test",
        }.items()
    }.items() <= config["Labels"].items()
    assert facts["Healthcheck"]["Test"] == ["CMD", "/opt/backup-agent/bin/healthcheck"]


@pytest.mark.nightly
def test_two_builds_have_the_same_layers(podman: Podman) -> None:
    """Without the cache, whose layers may have the time of another commit."""
    first, second = (
        podman.inspect(podman.agent(NEO4J_VERSIONS[-1], name, "--no-cache")) for name in ("first", "second")
    )

    assert first["RootFS"]["Layers"] == second["RootFS"]["Layers"]


def test_the_sbom_in_the_image_lists_its_packages_and_its_base(agent: Pod) -> None:
    found = json.loads(agent.sh("cat /opt/backup-agent/sbom.cdx.json"))
    versions = {one["name"]: one.get("version") for one in found["components"]}
    installed = agent.sh("cd /opt/backup-agent/lib/python3*/site-packages && ls -d *.dist-info").split()
    debian = agent.sh("dpkg-query --show --showformat='${Package} ${Version}\\n'")

    assert found["metadata"]["timestamp"] == CREATED
    assert found["metadata"]["component"]["version"] == "0.0.0-test"
    assert {one.replace("-", "_").lower() for one in versions} >= {one.split("-")[0].lower() for one in installed}
    assert dict(line.split() for line in debian.splitlines()).items() <= versions.items()


def test_the_image_adds_less_than_120_megabytes(podman: Podman, image: str) -> None:
    added = podman.inspect(image)["Size"] - podman.inspect(podman.neo4j(NEO4J_VERSIONS[-1]))["Size"]

    assert added < 120_000_000


def test_without_settings_the_agent_exits_with_a_hint(podman: Podman, image: str) -> None:
    completed = podman.attempt("run", "--rm", "--pull=never", "--network=none", *CAPPED, image)

    assert completed.returncode == 2
    assert "/etc/backup-agent/config.yaml" in completed.stderr


def test_the_image_has_no_build_tools_and_no_files_of_the_build(agent: Pod) -> None:
    found = agent.sh(
        "for tool in pip pip3 gcc cc make git; do command -v $tool; done; python -m pip --version 2>/dev/null; "
        "ls -d /build /etc/pip.conf /etc/pip.pem /var/lib/apt/lists/*_* 2>/dev/null; true"
    )

    assert found == ""


def test_a_client_of_s3_needs_little_memory_in_the_image(agent: Pod) -> None:
    completed = agent.podman.exec(agent.name, "python", "-B", "-c", CLIENT)

    assert (completed.returncode, completed.stderr) == (0, "")
    assert int(completed.stdout) < 48 * 1024  # KiB


def test_the_image_has_the_licence_of_the_agent_and_of_each_package(agent: Pod) -> None:
    packages = agent.sh("cd /opt/backup-agent/lib/python3*/site-packages && ls -d *.dist-info").split()
    licensed = agent.sh(
        "cd /opt/backup-agent/lib/python3*/site-packages && "
        "find *.dist-info -iname 'licen[cs]e*' -o -iname 'copying*' | cut -d / -f 1 | sort -u"
    ).split()

    assert "Apache License" in agent.sh("head -2 /opt/backup-agent/LICENSE")
    assert (set(packages) - set(licensed)) == set()


def test_neither_the_demo_nor_the_stand_ins_are_in_the_image(agent: Pod) -> None:
    completed = agent.podman.exec(agent.name, "backup-agent", "demo")

    packages = agent.sh("ls /opt/backup-agent/lib/python3*/site-packages/backup_agent").split()
    assert "cli" in packages
    assert {"demo", "standins"}.isdisjoint(packages)
    assert (completed.returncode, completed.stdout) == (2, "")
    assert completed.stderr.startswith(
        "backup-agent demo: the demo is not part of this image: run `make demo` in a checkout"
    )


def test_the_agents_user_cannot_change_the_agents_files(agent: Pod) -> None:
    assert agent.sh("find /opt/backup-agent '(' -writable -o -user 7474 ')' -a ! -type l") == ""
    assert agent.podman.exec(agent.name, "touch", "/opt/backup-agent/x").returncode != 0


@pytest.mark.parametrize(
    ("flag", "package"),
    [
        pytest.param("-OO", "backup_agent.supervisor", id="the supervisor, without docstrings"),
        pytest.param("-B", "backup_agent.jobs", id="the runs"),
        pytest.param("-B", "backup_agent.cli", id="the command line"),
    ],
)
def test_all_modules_are_compiled_in_the_build(agent: Pod, flag: str, package: str) -> None:
    """With a read-only root a module would be compiled again at each start, which takes seconds at a tenth of a core."""
    completed = agent.podman.exec(agent.name, "python", flag, "-c", UNCOMPILED.format(package=package))

    assert completed.stdout.strip() == "[]"


def test_commands_in_the_pod_find_the_agent_and_its_settings(agent: Pod) -> None:
    assert agent.sh("backup-agent --version").startswith("backup-agent, version")
    assert json.loads(agent.sh("backup-agent status --json"))["cluster"] == "demo"
    assert "nightly" in agent.sh("backup-agent schedules")


def test_the_health_check_needs_less_than_15_mebibytes_and_detects_a_missing_agent(agent: Pod) -> None:
    code, _, peak, _ = agent.podman.exec(agent.name, "bash", "-c", HEALTH).stdout.split()
    unreachable = agent.podman.attempt(
        "exec", "--env=BACKUP_AGENT_HTTP__PROBES=:1", agent.name, "/opt/backup-agent/bin/healthcheck"
    )

    assert code == "0"
    assert int(peak) < 15 * 1024  # KiB
    assert unreachable.returncode == 1


def test_a_dropped_request_is_backed_up_without_privileges(agent: Pod) -> None:
    agent.sh(SEED)
    answer = agent.answer()

    assert answer["state"] == "succeeded", answer
    assert agent.sh("cat /backup-requests/backup.status").strip() == "COMPLETED"
    result = answer["databases"]["orders"]
    assert agent.sh(f"stat -c %u:%s /backups/{result['artifact']}").strip() == f"7474:{result['size']}"
    assert '"launch": "direct"' in agent.log()
    status = agent.sh("cat /proc/1/status")
    assert all(f"Cap{kind}:\t{0:016x}" in status for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"))
    assert "NoNewPrivs:\t1" in status
    shared = [path for path in Path(agent.root).rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o002]
    assert shared == []


def test_any_user_of_the_group_0_can_run_the_agent(podman: Podman, image: str, tmp_path: Path) -> None:
    """As OpenShift runs containers: by a number that no file of the image knows, and the group 0."""
    with Pod(podman, image, NEO4J_VERSIONS[-1], tmp_path / "openshift") as pod:
        for volume in (pod.root, pod.requests):
            os.chown(volume, 0, 0)
            volume.chmod(0o2770)
        pod.fill_store(NEO4J_VERSIONS[-1])
        pod.start("--user=1000680000:0", "--passwd=false")
        pod.sh(SEED)
        answer = pod.answer()

        assert answer["state"] == "succeeded", answer
        artifact = pod.root / answer["databases"]["orders"]["artifact"]
        assert (artifact.stat().st_uid, artifact.stat().st_gid) == (1000680000, 0)
        assert pod.sh("backup-agent status --json")


def test_the_folders_for_volumes_belong_to_the_group_0_too(podman: Podman, image: str) -> None:
    """A new volume of docker or podman takes owner and mode from the folder of the image."""
    script = "stat -c '%u:%g %a' /backups /backup-requests; touch /backups/x /backup-requests/x"
    completed = podman.attempt(
        *("run", "--rm", "--pull=never", "--network=none", "--user=1000680000:0", "--passwd=false"),
        *("--entrypoint=sh", image, "-c", script),
    )

    assert (completed.returncode, completed.stdout.splitlines()) == (0, ["7474:0 770"] * 2), completed.stderr
