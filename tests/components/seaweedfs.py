"""SeaweedFS as a real S3 server: signatures, checksums, conditional writes and identities are enforced.

Its S3 port answers 403 before the volumes are writable, so readiness is a put that succeeded. It is ended by SIGKILL: a
SIGTERM takes it 15 s, and what it has acknowledged survives either. Its telemetry is on by default, and switched off here.
"""

import http.client
import json
import ssl
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import boto3
import botocore.config
import botocore.exceptions
import pytest
import trustme

from tests.components.cache import MissingComponentError
from tests.components.ports import Port
from tests.components.process import Server


@dataclass(frozen=True)
class Identity:
    """An access key of the server."""

    access_key: str
    secret_key: str

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the key into the environment, where boto3 finds it."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", self.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", self.secret_key)


ADMIN = Identity("AKADMIN", "SKADMIN-for-tests-only")
WRITE_ONLY = Identity("AKWRITE", "SKWRITE-for-tests-only")
"""An identity that may put (and, in SeaweedFS, delete) in `BUCKET`, but not get, head or list."""

READ_ONLY = Identity("AKREAD", "SKREAD-for-tests-only")
"""An identity that may get and list in `BUCKET`, as Neo4j servers do to read seeds."""

LIMITED = Identity("AKLIMITED", "SKLIMITED-for-tests-only")
"""An identity that may do what the policy of a bucket allows `PRINCIPAL`."""
PRINCIPAL = "arn:aws:iam::000000000000:user/limited"

KEYS = {
    "AWS_ACCESS_KEY_ID": ADMIN.access_key,
    "AWS_SECRET_ACCESS_KEY": ADMIN.secret_key,
    "AWS_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "2",
}
"""Environment of an agent that uses the server: the credentials, and a small number of tries."""

BUCKET = "neo4j-backups"

_CONFIG = {
    "identities": [
        {
            "name": "admin",
            "credentials": [{"accessKey": ADMIN.access_key, "secretKey": ADMIN.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
        {
            "name": "write-only",
            "credentials": [{"accessKey": WRITE_ONLY.access_key, "secretKey": WRITE_ONLY.secret_key}],
            "actions": [f"Write:{BUCKET}"],
        },
        {
            "name": "read-only",
            "credentials": [{"accessKey": READ_ONLY.access_key, "secretKey": READ_ONLY.secret_key}],
            "actions": [f"Read:{BUCKET}", f"List:{BUCKET}"],
        },
        {
            "name": "limited",
            "credentials": [{"accessKey": LIMITED.access_key, "secretKey": LIMITED.secret_key}],
            "actions": [],
        },
    ],
    "kms": {
        "default_provider": "local-dev",
        "providers": {"local-dev": {"type": "local", "enableOnDemandCreate": True}},
    },
}


class SeaweedFS(Server):
    """`weed server` with S3, on request with TLS and its own CA (`ca_file`). A started server has the bucket `BUCKET`."""

    name = "SeaweedFS"

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        super().__init__(folder / "weed.log")
        self._folder = folder
        self._ports = [Port.reserve() for _ in range(5)]
        self._s3, self._https, self._master, self._volume, self._filer = (port.number for port in self._ports)
        self.ca_file: Path | None = folder / "ca.pem" if tls else None

    @property
    def endpoint_url(self) -> str:
        """The address for S3 clients."""
        return f"https://localhost:{self._https}" if self.ca_file else f"http://127.0.0.1:{self._s3}"

    def place(self, prefix: str) -> dict[str, Any]:
        """Return the location of a prefix of `BUCKET`, as settings of a destination and as arguments of a store."""
        return {
            "bucket": BUCKET,
            "prefix": prefix,
            "endpoint_url": self.endpoint_url,
            "region": "us-east-1",
            "path_style": True,
        }

    @property
    def port(self) -> int:
        """The port of `endpoint_url`."""
        return self._https if self.ca_file else self._s3

    def start(self) -> Self:
        """Start the server, also again on the same data, and wait until a put has succeeded."""
        data = self._folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        config = self._folder / "s3.json"
        config.write_text(json.dumps(_CONFIG))
        self._launch(
            (
                str(_weed()),
                "-logtostderr=true",
                "server",
                f"-dir={data}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-master.telemetry=false",
                f"-master.port={self._master}",
                "-master.volumeSizeLimitMB=1024",
                "-volume.max=100",
                "-volume.preStopSeconds=0",
                f"-volume.port={self._volume}",
                "-filer",
                f"-filer.port={self._filer}",
                "-s3",
                f"-s3.port={self._s3}",
                "-s3.port.iceberg=0",  # otherwise it uses fixed ports, and a second server would not start
                "-s3.port.lance=0",
                f"-s3.config={config}",
                "-s3.autoCreateBucket=false",
                "-s3.allowDeleteBucketNotEmpty=false",
                *self._tls_options(),
            ),
            self._takes_a_put,
            # Without a limit the server grows to 0.9 GiB. With the limit uploads take 50 % longer, which no test measures.
            environment={"GOMEMLIMIT": "384MiB", "WEED_S3_SSE_KEY": "for-tests-only"},
        )
        return self

    def stop(self) -> None:
        """End the server, and release its ports."""
        self.kill()
        for port in self._ports:
            port.release()

    def client(self, identity: Identity = ADMIN) -> Any:
        """Return a boto3 client of the server, by which tests read and change objects without the agent."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=identity.access_key,
            aws_secret_access_key=identity.secret_key,
            region_name="us-east-1",
            verify=str(self.ca_file) if self.ca_file else None,
            config=botocore.config.Config(
                s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30
            ),
        )

    def _tls_options(self) -> tuple[str, ...]:
        if self.ca_file is None:
            return ()
        certificate, key = self._folder / "certificate.pem", self._folder / "key.pem"
        if not certificate.exists():
            authority = trustme.CA()
            issued = authority.issue_cert("localhost", "127.0.0.1")
            authority.cert_pem.write_to_path(str(self.ca_file))
            issued.private_key_pem.write_to_path(str(key))
            for number, blob in enumerate(issued.cert_chain_pems):
                blob.write_to_path(str(certificate), append=number > 0)
        return (f"-s3.port.https={self._https}", f"-s3.cert.file={certificate}", f"-s3.key.file={key}")

    def _takes_a_put(self) -> bool:
        if not self._answers():
            return False  # tried first, because making a client of boto3 is slow
        client = self.client()
        try:
            with suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key=".ready", Body=b"ready")
            client.delete_object(Bucket=BUCKET, Key=".ready")
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            return False
        else:
            return True
        finally:
            client.close()

    def _answers(self) -> bool:
        connection = (
            http.client.HTTPSConnection(
                "localhost", self._https, timeout=5, context=ssl.create_default_context(cafile=str(self.ca_file))
            )
            if self.ca_file
            else http.client.HTTPConnection("127.0.0.1", self._s3, timeout=5)
        )
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        else:
            return True
        finally:
            connection.close()


def _weed() -> Path:
    program = Path(sysconfig.get_path("scripts")) / "weed"
    if not program.exists():
        raise MissingComponentError("weed is absent: run `make setup`")
    return program
