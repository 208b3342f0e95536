"""The settings of a destination with `type: s3`."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationInfo, field_validator

from backup_agent.settings.grammar import AbsolutePath, Endpoint, Label, Prefix, Size, shaped
from backup_agent.settings.section import Retention, Section, Verify

Bucket = Annotated[
    str,
    shaped(
        re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]|arn:[A-Za-z0-9:/_-]{1,200}"),
        "the name of a bucket, or an access point's ARN",
    ),
]

PUT_OPTIONS = frozenset(
    {
        "ACL", "BucketKeyEnabled", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage",
        "ContentType", "ExpectedBucketOwner", "Expires", "GrantFullControl", "GrantRead", "GrantReadACP",
        "GrantWriteACP", "Metadata", "ObjectLockEventHold", "ObjectLockEventHoldDurationDays",
        "ObjectLockEventHoldDurationYears", "ObjectLockLegalHoldStatus", "ObjectLockMode", "ObjectLockRetainUntilDate",
        "RequestPayer", "SSEKMSEncryptionContext", "SSEKMSKeyId", "ServerSideEncryption", "StorageClass", "Tagging",
        "WebsiteRedirectLocation",
    }
)  # fmt: skip
"""The keys that `put_options` may have. They say how an object is stored, not its name or content."""


class S3Destination(Section):
    """A destination in S3: the bucket and prefix to which artifacts are copied, and how to reach the store."""

    type: Literal["s3"] = Field("s3", description="kind of the store")
    bucket: Bucket = Field(description="name of the bucket", examples=["backups"])
    prefix: Prefix | None = Field(None, description="prefix of all keys: <prefix>/<cluster>/…", examples=["neo4j"])
    endpoint_url: Endpoint | None = Field(
        None, description="URL of the store, if it is not AWS", examples=["https://s3.example.com"]
    )
    region: Label | None = Field(
        None, description="region of the bucket; without it boto3's default", examples=["eu-central-1"]
    )
    path_style: bool = Field(
        False,
        description="put the bucket into the path of a URL, not into the host name; most self-hosted stores need it",
    )
    ca_file: AbsolutePath | None = Field(
        None,
        description="file with the CA certificates for the endpoint, if they are not public",
        examples=["/run/secrets/s3/ca.crt"],
    )
    bandwidth: Size | None = Field(None, description="most bytes uploaded per second", examples=["50MiB"])
    parallel_parts: int | None = Field(
        None,
        ge=1,
        le=64,
        description="parts uploaded at a time, each on its own connection; by default 2 to 16, by the memory limit",
        examples=[8],
    )
    single_writer: bool = Field(
        False,
        description="promise that no other client writes here: allows deletion in a store without conditional writes",
    )
    put_options: dict[str, JsonValue] = Field(
        {},
        description="options of every object, by boto3's names: encryption, storage class, tags, ACL, object lock",
        examples=[{"ServerSideEncryption": "AES256"}],
    )
    deletes: bool = Field(
        True,
        description="false: nothing is deleted or healed here, so the credentials need no permission to delete",
    )
    retention: Retention | None = Field(None, description="what is kept here; without it everything")

    verify: Verify | None = Field(
        None,
        description="keys of `verify` that differ here; reading from a cloud bucket may cost money",
        examples=[{"every": "90d", "bandwidth": "10MiB"}],
    )

    @field_validator("put_options")
    @classmethod
    def _are_options(cls, value: dict[str, Any]) -> dict[str, Any]:
        if any(name.startswith(("SSECustomer", "CopySourceSSECustomer")) for name in value):
            raise ValueError(
                "no SSECustomer… option: the settings hold no keys; ServerSideEncryption and SSEKMSKeyId work"
            )
        if refused := sorted(value.keys() - PUT_OPTIONS):
            named = ", ".join(name for name in refused if re.fullmatch(r"[A-Za-z0-9_]{1,40}", name)) or "such keys"
            raise ValueError(
                f"no {named}: allowed are {', '.join(sorted(PUT_OPTIONS))}; the agent itself sets where an object is "
                "stored, its content, checksums, conditions and upload"
            )
        return value

    @field_validator("retention")
    @classmethod
    def _can_be_applied(cls, value: Retention | None, info: ValidationInfo) -> Retention | None:
        if value is not None and info.data.get("deletes") is False:
            raise ValueError("no retention with `deletes: false`: another program decides what is kept here")
        return value

    @property
    def identity(self) -> str:
        """The identity of the place. Two destinations with the same identity are the same place."""
        return f"{self.type}:{self.endpoint_url or ''}/{self.bucket}/{self.prefix or ''}"
