"""Each kind of destination that the settings know has a module that opens it."""

import pytest

from backup_agent.settings.s3 import S3Destination
from backup_agent.stores import s3
from backup_agent.stores.kind import StoreKind, kind_of

KINDS: list[tuple[S3Destination, StoreKind]] = [(S3Destination(bucket="backups"), s3)]
"""A destination of each kind, and its module. The type checker compares the module with the interface of a kind."""


@pytest.mark.parametrize(("destination", "module"), KINDS)
def test_the_module_of_a_destination_is_found_by_its_type(destination: S3Destination, module: StoreKind) -> None:
    assert kind_of(destination) is module
