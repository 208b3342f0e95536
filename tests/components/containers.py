"""Images and containers by podman, below a root of their own in the cache folder.

Neither a daemon nor a registry: bases are made of Debian's packages. What a newcomer would meet: crun does not run where
cgroups are v1, so it is runc; a root without CAP_SYS_RESOURCE cannot raise limits, so they are set to what there is.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

from tests.components.cache import MissingComponentError, cache_folder
from tests.components.java import compile_java, java_home
from tests.components.neo4j_community import jars
from tests.components.pins import DEBIAN_SUITE

ROOT = Path(__file__).parents[2]
STAND_IN = ROOT / "tests/container/BackupCommand.java"

PACKAGES = "catatonit iptables mmdebstrap podman runc"

CREATED, SOURCE_DATE_EPOCH = "2026-11-30T12:00:00Z", 1796040000
"""When the tests say that the agent's image was built: all times in its layers are this one."""

CAPPED = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--tmpfs=/tmp:size=16m")
"""How Kubernetes' `restricted` runs it, and a root that cannot be written."""

_CONF = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""

# As Neo4j's own images are: home, user, volumes and an entrypoint that is not ours.
_BASE = """FROM {debian}
ENV JAVA_HOME=/opt/java/openjdk NEO4J_HOME=/var/lib/neo4j LANG=C.UTF-8
ENV PATH=/var/lib/neo4j/bin:/opt/java/openjdk/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
COPY java /opt/java/openjdk
COPY neo4j /var/lib/neo4j
RUN echo 'neo4j:x:7474:7474::/var/lib/neo4j:/usr/sbin/nologin' >>/etc/passwd && echo 'neo4j:x:7474:' >>/etc/group \\
    && mkdir /data /logs /var/lib/neo4j/conf && ln -s /data /logs /var/lib/neo4j/ && chown 7474:7474 /data /logs
WORKDIR /var/lib/neo4j
VOLUME /data /logs
EXPOSE 7474 7473 7687
ENTRYPOINT ["tini", "-g", "--", "/startup/docker-entrypoint.sh"]
CMD ["neo4j"]
"""

_SCRIPT = """#!/bin/sh
# As shipped: a JVM that starts another one for the command.
exec java -Xmx128m -cp "$NEO4J_HOME/lib/*" -Dbasedir="$NEO4J_HOME" org.neo4j.server.startup.Neo4jAdminCommand "$@"
"""


class Podman:
    """podman on a store of its own; one process at a time has it. Use as a context manager: containers do not outlive it."""

    def __init__(self) -> None:
        for program in ("podman", "runc"):
            if shutil.which(program) is None:
                raise MissingComponentError.package(program, PACKAGES)
        if os.geteuid() != 0:
            raise MissingComponentError("containers are run by root here: run the tests as root, or without them")
        # podman's database remembers where its folders are, so they keep their places.
        self._folder = cache_folder() / "containers"
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self._folder / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (self._folder / "containers.conf").write_text(_CONF)
        self.clear()  # of what tests that were killed left behind
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
        if self._lock is not None:
            self._lock.close()

    def clear(self) -> None:
        """End all containers; images stay."""
        self("pod", "rm", "--all", "--force")
        self("rm", "--all", "--force", "--volumes", "--time=0")
        self("volume", "rm", "--all", "--force")
        self("secret", "rm", "--all")

    @property
    def argv(self) -> tuple[str, ...]:
        """The program and where its store is."""
        places = {"root": "root", "runroot": "run", "tmpdir": "tmp"}
        return ("podman", *(f"--{option}={self._folder / name}" for option, name in places.items()))

    @property
    def environment(self) -> dict[str, str]:
        """What it is run with."""
        return {**os.environ, "CONTAINERS_CONF": str(self._folder / "containers.conf")}

    def __call__(self, *words: str, timeout: float = 120, stdin: str | None = None) -> str:
        """Run a command; return what it prints, or raise with what it says."""
        completed = self.attempt(*words, timeout=timeout, stdin=stdin)
        if completed.returncode != 0:
            raise RuntimeError(
                f"podman {' '.join(words[:4])} ended with {completed.returncode}:\n{completed.stdout}{completed.stderr}"
            )
        return completed.stdout.strip()

    def attempt(self, *words: str, timeout: float = 120, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command whose exit code is the result."""
        return subprocess.run(
            (*self.argv, *words),
            input=stdin or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env=self.environment,
        )

    def exec(self, container: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container, as `kubectl exec` does."""
        return self.attempt("exec", container, *words)

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what podman knows of an image or a container."""
        found: list[dict[str, Any]] = json.loads(self("inspect", name))
        return found[0]

    def build(self, tag: str, containerfile: Path, context: Path, arguments: Mapping[str, str], *options: str) -> str:
        """Build an image, from layers that are there already where nothing changed."""
        with tempfile.TemporaryDirectory(prefix="podman-build-") as name:
            self(
                "build",
                "--quiet",
                "--format=docker",
                "--isolation=chroot",
                "--network=host",
                "--layers",
                f"--tag={tag}",
                f"--file={containerfile}",
                *(f"--build-arg={key}={value}" for key, value in arguments.items()),
                *_machines_pip(Path(name)),
                *options,
                str(context),
                timeout=900,
            )
        return tag

    def neo4j(self, version: str) -> str:
        """Return a base image of Debian and Neo4j Community, with the stand-in of `database backup`; make it once."""
        recipe = hashlib.sha256(f"{_BASE}{_SCRIPT}".encode() + STAND_IN.read_bytes()).hexdigest()[:12]
        tag = f"localhost/neo4j-stand-in:{version}-{recipe}"
        if self.attempt("image", "exists", tag).returncode == 0:
            return tag
        debian = self._debian()
        with tempfile.TemporaryDirectory(prefix="neo4j-base-") as name:
            folder = Path(name)
            home = folder / "neo4j"
            for part in ("bin", "lib"):
                (home / part).mkdir(parents=True)
            for jar in jars(version).glob("*.jar"):
                shutil.copyfile(jar, home / "lib" / jar.name)
            stand_in(version, home / "lib/stand-in-of-backup.jar", folder)
            script = home / "bin/neo4j-admin"
            script.write_text(_SCRIPT)
            script.chmod(0o755)
            shutil.copytree(java_home(), folder / "java", symlinks=True)
            (folder / "Containerfile").write_text(_BASE.format(debian=debian))
            return self.build(tag, folder / "Containerfile", folder, {})

    def agent(self, version: str, name: str = "neo4j-backup-agent", *options: str) -> str:
        """Return the agent's image on that base, built from the working tree by the command in docs/image.md."""
        base = self.neo4j(version)
        arguments = {
            "BASE": base,
            "BASE_DIGEST": self.inspect(base)["Digest"],
            "VERSION": "0.0.0-test",
            "REVISION": "of-the-tree",
            "SOURCE": "https://git.example.com/neo4j-backup-agent",
            "CREATED": CREATED,
        }
        tag, timestamp = f"localhost/{name}:0.0.0-{version}", f"--timestamp={SOURCE_DATE_EPOCH}"
        return self.build(tag, ROOT / "container/Containerfile", ROOT, arguments, timestamp, *options)

    def _debian(self) -> str:
        tag = f"localhost/debian:{DEBIAN_SUITE}"
        if self.attempt("image", "exists", tag).returncode == 0:
            return tag
        if shutil.which("mmdebstrap") is None:
            raise MissingComponentError.package("mmdebstrap", PACKAGES)
        with tempfile.TemporaryDirectory(prefix="debian-") as name:
            archive = Path(name) / "root.tar"
            made = subprocess.run(
                (
                    "mmdebstrap",
                    "--quiet",
                    "--variant=apt",
                    "--include=ca-certificates,procps,tini",
                    DEBIAN_SUITE,
                    archive,
                ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=600,
            )
            if made.returncode != 0:
                raise MissingComponentError(f"mmdebstrap could not make {DEBIAN_SUITE}:\n{made.stderr[-2000:]}")
            self("import", "--quiet", str(archive), tag, timeout=300)
        return tag


def stand_in(version: str, target: Path, folder: Path) -> None:
    """Make the jar that brings `database backup` to Community's neo4j-admin (tests/container/BackupCommand.java)."""
    classes = folder / "classes"
    classes.mkdir()
    compile_java(STAND_IN, jars(version), classes)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as jar:
        for path in sorted(classes.rglob("*.class")):
            jar.write(path, path.relative_to(classes).as_posix())
        jar.writestr("META-INF/services/org.neo4j.cli.CommandProvider", "backup.BackupCommand$Provider\n")
    shutil.rmtree(classes)


def _machines_pip(folder: Path) -> Iterator[str]:
    """Yield options by which pip in a build goes out as it does on this machine (docs/image.md)."""
    listed = subprocess.run((sys.executable, "-m", "pip", "config", "list"), capture_output=True, text=True, check=True)
    given = dict(line.split("=", 1) for line in listed.stdout.splitlines() if "=" in line)
    values = {key.rpartition(".")[2]: value.strip("'\"") for key, value in given.items()}
    # Folders of this machine are not there in a build.
    kept = {key: value for key, value in values.items() if not value.startswith("/")}
    if "cert" in values:
        kept["cert"] = "/etc/pip.pem"
        yield f"--secret=id=pip.pem,src={values['cert']}"
    conf = folder / "pip.conf"
    conf.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in kept.items()))
    yield f"--secret=id=pip.conf,src={conf}"
