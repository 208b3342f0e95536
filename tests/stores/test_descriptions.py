"""botocore's descriptions of services: the same services, with the same content in plain dicts."""

import botocore.loaders
import botocore.session
import pytest
from botocore.exceptions import DataNotFoundError, UnknownServiceError

from backup_agent.stores.s3.descriptions import new_session


@pytest.fixture(autouse=True)
def _loaders_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each session read the descriptions itself: those of the tests in this folder share what was read."""
    monkeypatch.setattr("botocore.session.create_loader", botocore.loaders.create_loader)


@pytest.mark.parametrize("kind", ["service-2", "endpoint-rule-set-1", "paginators-1"])
def test_descriptions_are_read_into_plain_dicts(kind: str) -> None:
    ours, theirs = (
        session.get_component("data_loader").load_service_model("s3", kind)
        for session in (new_session(), botocore.session.Session())
    )

    assert ours == theirs
    assert type(ours) is dict


def test_a_description_that_does_not_exist_is_an_error_of_botocore() -> None:
    with pytest.raises(DataNotFoundError):
        new_session().get_component("data_loader").load_data("absent")


def test_the_services_are_those_that_botocore_finds() -> None:
    ours, theirs = (session.get_available_services() for session in (new_session(), botocore.session.Session()))

    assert ours == theirs


def test_a_service_that_does_not_exist_is_an_error_of_botocore() -> None:
    with pytest.raises(UnknownServiceError):
        new_session().get_component("data_loader").load_service_model("absent", "service-2")
