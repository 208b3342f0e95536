"""botocore's descriptions of services have the same content in plain dicts."""

import botocore.session
import pytest
from botocore.exceptions import DataNotFoundError

from backup_agent.stores.s3.descriptions import new_session


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
