"""Fixtures: a fresh store of each kind, which are in memory, on a volume, and in a real S3 server."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import botocore.loaders
import pytest

from backup_agent.stores.local import LocalStore
from backup_agent.stores.s3 import S3Store
from backup_agent.stores.store import Store
from tests.components.seaweedfs import ADMIN, Identity, SeaweedFS
from tests.stores.fault_proxy import Fault, FaultProxy
from tests.stores.memory_store import MemoryStore

POOR_STORE = (
    Fault("if-(none-)?match", "refuse", status=501, code="NotImplemented", times=None),
    Fault("", "strip", code="^x-amz-checksum", times=None),
)
"""A fault that makes the server behave as one without conditional writes and without checksums."""


@pytest.fixture(autouse=True, scope="session")
def _descriptions_of_s3_are_read_once() -> Iterator[None]:
    """Cache botocore's descriptions of S3: reading them takes most of the time of a client, and the tests make hundreds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", cache(botocore.loaders.create_loader))
        yield


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> Callable[[Identity], None]:
    """Use the credentials of an identity of the server, from the environment, where boto3 looks first."""

    # Credentials and settings of this machine must not affect a test.
    for name in ("AWS_CA_BUNDLE", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    ADMIN.use(monkeypatch)
    return lambda identity: identity.use(monkeypatch)


@pytest.fixture
def prefix() -> str:
    """A prefix in the bucket for one test."""
    return f"{uuid4().hex}/demo"


@pytest.fixture
def s3_store(
    seaweedfs: SeaweedFS,
    credentials: Callable[[Identity], None],  # noqa: ARG001  wanted for what it sets
    prefix: str,
) -> Callable[..., S3Store]:
    """Return a function that makes a store in the real server. Its arguments change the settings of the store."""

    def make(**changes: Any) -> S3Store:
        return S3Store(**{**seaweedfs.place(prefix), **changes})

    return make


@pytest.fixture
def proxy(seaweedfs: SeaweedFS) -> Iterator[FaultProxy]:
    """A proxy between stores and the real server."""
    with FaultProxy(seaweedfs.port) as proxy:
        yield proxy


@pytest.fixture(
    params=[
        pytest.param("memory"),
        pytest.param("local"),
        pytest.param("s3", marks=pytest.mark.components),
        pytest.param("s3 without conditional writes or checksums", marks=pytest.mark.components),
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each kind of store in turn. A new kind is one line here."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "local":
        (tmp_path / "root").mkdir()
        return LocalStore(tmp_path / "root")
    make = request.getfixturevalue("s3_store")
    if request.param == "s3":
        return make()  # type: ignore[no-any-return]  # a fixture has no type
    proxy: FaultProxy = request.getfixturevalue("proxy")
    proxy.inject(*POOR_STORE)
    return make(endpoint_url=proxy.endpoint_url)  # type: ignore[no-any-return]  # a fixture has no type
