"""`backup-agent doctor` on a new installation, with its real child processes."""

from pathlib import Path

import pytest

from tests.cli.conftest import Place

pytestmark = pytest.mark.process


@pytest.fixture(name="nothing", autouse=True)
def _nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove everything from the environment by which a password or a neo4j-admin would be found."""
    for name in ("NEO4J_HOME", "NEO4J_PASSWORD", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_missing_parts_of_an_installation_are_named(place: Place) -> None:
    place.settings["neo4j"] = {"uri": "neo4j+s://no-such-host.invalid", "password_file": "/run/secrets/none"}

    result = place.run("doctor")

    assert result.code == 5
    failed = [line.split(maxsplit=2)[1:] for line in result.out.splitlines() if line.startswith("FAIL")]
    assert [name for name, _ in failed] == ["password:", "host:", "neo4j_admin:"]
    assert "/run/secrets/none: no such file or directory" in failed[0][1]
    assert "no-such-host.invalid does not resolve" in failed[1][1]
    assert "neo4j-admin is not found" in failed[2][1]
    assert result.out.splitlines()[-1].endswith("unknown")


def test_an_accepted_failure_is_shown_and_does_not_count(place: Place) -> None:
    checks = ("plain_bolt", "password", "host", "neo4j_admin")
    place.settings["neo4j"] = {"uri": "neo4j://no-such-host.invalid", "password_file": "/run/secrets/none"}
    place.settings["doctor"] = {"accept": {name: {"reason": "not yet", "until": "2099-12-31"} for name in checks}}

    result = place.run("doctor", "--json")

    assert (result.code, result.json["outcome"]) == (0, "ok")
    accepted = {one["check"]: one["accepted_until"] for one in result.json["checks"] if "accepted" in one}
    assert accepted == dict.fromkeys(checks, "2099-12-31")


def test_faults_in_the_settings_are_all_named_and_nothing_else_is_checked(place: Place) -> None:
    place.settings["neo4j"] = {"uri": "nonsense"}
    place.settings["doctor"] = {"accept": {"no_such_check": {"reason": "x", "until": "soon"}}}

    result = place.run("doctor")

    assert (result.code, result.out) == (2, "")
    assert "neo4j.uri: expected" in result.err
    assert "doctor.accept.no_such_check: expected" in result.err
    assert "doctor.accept.no_such_check.until: expected a day" in result.err
