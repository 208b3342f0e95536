"""The S3 server of the demo: SeaweedFS from the extra `demo`. Without it the demo has no destination."""

import secrets
import socket
import sysconfig
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

from backup_agent.demo.errors import DemoError
from backup_agent.demo.program import Program

BUCKET = "neo4j-backups"
TIMEOUT_SECONDS = 90.0
POLL_SECONDS = 0.25

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""An HTTP client that ignores `http_proxy`."""


def program() -> Path | None:
    """Return the path of SeaweedFS's program; None if the extra is not installed."""
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    return weed if weed.exists() else None


class S3Server:
    """SeaweedFS on ports of its own, with one bucket."""

    def __init__(self, weed: Path, folder: Path) -> None:
        """Choose ports and make new credentials. `start` starts the server."""
        self._weed = weed
        self._folder = folder
        self._credentials = {
            "AWS_ACCESS_KEY_ID": secrets.token_hex(10),
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
        }
        self._ports = _free_ports(4)
        self._program: Program | None = None

    @property
    def endpoint_url(self) -> str:
        """The URL for clients."""
        return f"http://127.0.0.1:{self._ports[0]}"

    def start(self) -> None:
        """Start the server. `await_ready` waits until it can be used."""
        s3, master, volume, filer = self._ports
        self._folder.mkdir(parents=True, exist_ok=True)
        self._program = Program(
            [
                str(self._weed),
                "-logtostderr=true",
                "server",  # `mini` has a worker for maintenance, too, which needs more CPU than the demo
                "-filer",
                "-s3",
                f"-dir={self._folder}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-master.telemetry=false",  # on by default
                f"-master.port={master}",
                "-master.electionTimeout=1s",  # ten by default, which a restart would wait for
                "-master.volumeSizeLimitMB=64",
                f"-volume.port={volume}",
                "-volume.max=100",
                f"-filer.port={filer}",
                f"-s3.port={s3}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-s3.autoCreateBucket=false",
            ],
            self._folder / "weed.log",
            {**self._credentials, "GOMEMLIMIT": "256MiB"},
        )

    def await_ready(self) -> None:
        """Wait until objects can be stored. Raise DemoError if that takes too long or the server has ended."""
        until = time.monotonic() + TIMEOUT_SECONDS
        while not self._ready():
            if time.monotonic() > until or self._program is None or not self._program.running:
                raise DemoError(f"the S3 server does not work; its log is {self._folder / 'weed.log'}")
            time.sleep(POLL_SECONDS)

    def _ready(self) -> bool:
        """Make the bucket, store a file in it, and return whether both succeeded and the S3 port answers.

        The S3 port answers before objects can be stored. SeaweedFS's own interface asks for no credentials, so no S3
        client is needed to find out.
        """
        files = f"http://127.0.0.1:{self._ports[3]}"
        with suppress(OSError):
            for path, data in ((f"buckets/{BUCKET}/", b""), (f"buckets/{BUCKET}/ready", b"ready")):
                put = urllib.request.Request(f"{files}/{path}", data=data, method="PUT")  # noqa: S310  it is http:
                DIRECT.open(put, timeout=5).close()
            try:
                DIRECT.open(self.endpoint_url, timeout=5).close()
            except urllib.error.HTTPError:  # it refuses a request without credentials
                return True
        return False

    def write_credentials(self, path: Path) -> None:
        """Write the credentials in the form of ~/.aws/credentials."""
        path.touch(mode=0o600)
        path.write_text("[default]\n" + "".join(f"{name.lower()} = {key}\n" for name, key in self._credentials.items()))

    def stop(self) -> None:
        """End the server. Its data stays on disk."""
        if self._program is not None:
            self._program.kill()
            self._program = None


def _free_ports(count: int) -> list[int]:
    """Return ports that are free now. SeaweedFS also uses the port 10,000 above each, for gRPC."""
    with ExitStack() as held:
        found: list[int] = []
        while len(found) < count:
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            if port + 10_000 < 65_536:  # noqa: PLR2004  the largest port
                found.append(port)
        return found
