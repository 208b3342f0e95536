"""The S3 server of the demo: SeaweedFS from the extra `demo`. Without it the demo has no destination."""

import os
import secrets
import socket
import sysconfig
import time
from contextlib import ExitStack
from pathlib import Path

from backup_agent.core.reasons import BackupError
from backup_agent.demo.program import Program

BUCKET = "neo4j-backups"
TIMEOUT_SECONDS = 60.0


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
        self.credentials = {
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
        """Start the server and wait until it has stored an object. Raise BackupError if that fails."""
        s3, master, volume, filer = self._ports
        self._folder.mkdir(parents=True, exist_ok=True)
        self._program = Program(
            [
                str(self._weed),
                "-logtostderr=true",
                "mini",
                f"-dir={self._folder}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-master.telemetry=false",  # on by default
                f"-master.port={master}",
                f"-volume.port={volume}",
                f"-filer.port={filer}",
                f"-s3.port={s3}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                f"-bucket={BUCKET}",
                "-webdav=false",
                "-admin.ui=false",
                "-s3.autoCreateBucket=false",
            ],
            self._folder / "weed.log",
            {**self.credentials, "GOMEMLIMIT": "256MiB"},
        )
        self._await_a_put()

    def _await_a_put(self) -> None:
        # The port answers before the bucket can be written to.
        from backup_agent.stores.s3 import S3Store  # noqa: PLC0415  boto3 is imported while the server starts

        os.environ.update(self.credentials)
        until = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                S3Store(bucket=BUCKET, prefix="probe", endpoint_url=self.endpoint_url, path_style=True).create(
                    "ready/ready/ready", b""
                )
            except BackupError:
                if time.monotonic() > until or self._program is None or not self._program.running:
                    raise
                time.sleep(0.2)
            else:
                return

    def write_credentials(self, path: Path) -> None:
        """Write the credentials in the form of ~/.aws/credentials, for commands that the user starts."""
        path.touch(mode=0o600)
        path.write_text("[default]\n" + "".join(f"{name.lower()} = {key}\n" for name, key in self.credentials.items()))

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
