"""docs/restore.md: its worked session has the output that the commands give, and its table the refusals."""

import re
import shlex
import shutil
from collections.abc import Callable

import pytest

from backup_agent.catalog.space import VolumeSpace
from tests.cli.conftest import Place, Result
from tests.cli.session import AGENT, PAGE, aged, fill_volume, sessions
from tests.components.seaweedfs import WRITE_ONLY, SeaweedFS


@pytest.fixture(name="cluster")
def _cluster(place: Place) -> Place:
    """Put the backups of the session on the volume."""
    fill_volume(place.root)
    return place


def test_each_command_of_the_session_has_the_output_that_the_page_shows(cluster: Place) -> None:
    found = sessions(PAGE.read_text())

    assert found
    for command, out in found:
        words = shlex.split(command)
        assert words[:5] == AGENT, command
        result = cluster.run(*words[5:])
        assert result.err == "", command
        assert aged(result.out).strip() == out.strip(), command


# Refusals: each has its row in the page.


def rows(page: str) -> dict[str, int]:
    """Return the exit code of each message in the table of refusals."""
    table = page.partition("## If there is no plan")[2]
    return {message: int(code) for message, code in re.findall(r"^\| `(.+?)` \| (\d) \|", table, re.MULTILINE)}


def restore(*options: str) -> Callable[[Place], Result]:
    return lambda place: place.run("restore", "orders", *options)


def of_a_broken_chain(place: Place) -> Result:
    (place.root / FULL).unlink()
    return place.run("restore", "orders-2026-11-23T02-00-00")


def of_a_damaged_artifact(place: Place) -> Result:
    damaged = place.root / FULL
    damaged.write_bytes(bytes(len(damaged.read_bytes())))
    return place.run("fetch", "orders", "--to", str(place.folder / "to"))


def into_a_small_folder(place: Place) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backup_agent.restore.fetching.space", lambda _: VolumeSpace(size=100, free=100))
        return place.run("fetch", "orders", "--to", str(place.folder / "to"))


def from_a_bucket_without_rights(place: Place) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        WRITE_ONLY.use(patch)
        return place.run("restore", "orders", "--from", "offsite")


def of_unrecognised_records(place: Place) -> Result:
    shutil.rmtree(place.root / ".agent")
    return place.run("fetch", "orders", "--to", str(place.folder / "to"))


FULL = "default/orders/orders-2026-11-23T00-00-00.backup"
REFUSALS = {
    "is in the future": restore("--at", "2999-01-01 00:00 UTC"),
    "an IANA time zone": restore("--at", "2026-11-23 02:30 Europe/Brelin"),
    "is the name of an existing database or alias": restore("--as", "Sales"),
    "is not a name that Neo4j allows for a database": restore("--as", "1st"),
    "cannot restore the backup of a newer version": restore("--neo4j-version", "5.26.31"),
    "it is inside a full, which cannot be cut": restore("--at", "2026-11-23T00:00:30Z"),
    "it is before the first restore point": restore("--at", "2026-11-22T02:00:00Z"),
    "a part of its chain is missing or damaged": of_a_broken_chain,
    "differs from its record": of_a_damaged_artifact,
    "bytes free": into_a_small_folder,
    "do not allow it": from_a_bucket_without_rights,
    "ORIGIN NOT PROVEN": of_unrecognised_records,
}
"""Message -> a function that causes it."""


def test_the_page_has_a_row_for_each_refusal() -> None:
    assert rows(PAGE.read_text()).keys() == REFUSALS.keys()


@pytest.mark.parametrize("message", [name for name in REFUSALS if name != "do not allow it"])
def test_a_refusal_has_the_words_and_the_exit_code_of_the_page(cluster: Place, message: str) -> None:
    result = REFUSALS[message](cluster)

    assert message in result.err
    assert result.code == rows(PAGE.read_text())[message], result.err


def test_a_bucket_without_rights_is_refused_with_the_words_of_the_page(cluster: Place, seaweedfs: SeaweedFS) -> None:
    place = seaweedfs.place(cluster.folder.name)
    cluster.settings["storage"]["destinations"] = {"offsite": {"type": "s3", **place}}
    result = from_a_bucket_without_rights(cluster)

    assert "do not allow it" in result.err
    assert result.code == rows(PAGE.read_text())["do not allow it"]
