"""Stores to test, each fresh: one in memory, one on a volume, one in a real S3 server."""

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
"""Makes of the server one that has neither conditional writes nor checksums to tell."""


@pytest.fixture(autouse=True, scope="session")
def _descriptions_of_s3_are_read_once() -> Iterator[None]:
    """Each client would read botocore's descriptions anew, which is most of what one costs: a process makes hundreds here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", cache(botocore.loaders.create_loader))
        yield


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> Callable[[Identity], None]:
    """Become an identity of the server, by the first link of boto3's chain."""

    # What this machine has of its own must not decide a test.
    for name in ("AWS_CA_BUNDLE", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    ADMIN.use(monkeypatch)
    return lambda identity: identity.use(monkeypatch)


@pytest.fixture
def prefix() -> str:
    """A place in the bucket of the test's own."""
    return f"{uuid4().hex}/demo"


@pytest.fixture
def s3_store(
    seaweedfs: SeaweedFS,
    credentials: Callable[[Identity], None],  # noqa: ARG001  wanted for what it sets
    prefix: str,
) -> Callable[..., S3Store]:
    """Make a store in the real server; arguments change it."""

    def make(**changes: Any) -> S3Store:
        return S3Store(**{**seaweedfs.place(prefix), **changes})

    return make


@pytest.fixture
def proxy(seaweedfs: SeaweedFS) -> Iterator[FaultProxy]:
    """Stand between a store and the real server."""
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
    """Each store in turn; a new one is one line here."""
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
