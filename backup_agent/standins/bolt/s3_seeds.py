"""Seeds in a bucket, read with an access key of the servers: the agent's key is another one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.config
import botocore.exceptions

from backup_agent.standins.bolt.seeds import Folder, SeedError
from backup_agent.standins.neo4j_admin.artifacts import SUFFIX

TRIES, SECONDS = 2, 10


@dataclass(frozen=True)
class S3Access:
    """How the servers read `s3:` URIs. `opener` is one of `seeds.Opener`."""

    endpoint_url: str
    region: str
    access_key: str
    secret_key: str

    def opener(self, location: str) -> tuple[Folder, str]:
        """Open the folder of a URI without its scheme."""
        parts = urlsplit(f"s3:{location}")
        prefix, _, name = parts.path.removeprefix("/").rpartition("/")
        return S3Folder(self._client(), parts.netloc, f"{prefix}/" if prefix else ""), name

    def _client(self) -> Any:  # noqa: ANN401  boto3 has no types
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=botocore.config.Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": TRIES},
                connect_timeout=SECONDS,
                read_timeout=SECONDS,
            ),
        )


class S3Folder:
    """The objects below a prefix of a bucket."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:  # noqa: ANN401  boto3 has no types
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def names(self) -> Sequence[str]:
        """Return the names of the artifacts. Raise SeedError if the key may not list them."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix, Delimiter="/"
        )
        try:
            keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            raise self._invalid(error) from error
        return [key.removeprefix(self._prefix) for key in keys if key.endswith(SUFFIX)]

    def fetch(self, name: str, target: Path, size: int | None = None) -> None:
        """Copy an artifact, or its first bytes. Raise SeedError if the key may not read it."""
        part = {} if size is None else {"Range": f"bytes=0-{size - 1}"}
        try:
            body = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name, **part)["Body"]
            with target.open("wb") as file:
                for block in body.iter_chunks():
                    file.write(block)
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            raise self._invalid(error) from error

    def _invalid(self, error: Exception) -> SeedError:
        return SeedError(f"s3://{self._bucket}/{self._prefix} does not point to a valid location: {error}")
