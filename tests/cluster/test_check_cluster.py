"""The doctor's checks of a cluster: of a simulated one with roles and faults, and of a real Neo4j Community."""

from collections.abc import Callable
from pathlib import Path

from backup_agent.core.doctor.checks import Check, CheckFinding
from backup_agent.core.requests.tasks import DiscoverTask
from backup_agent.jobs.check_cluster import before_login, judge, see
from backup_agent.settings.model import Settings
from backup_agent.standins.bolt import BoltServer
from backup_agent.standins.cluster import User, three_servers
from tests.builders import settings_with
from tests.components.neo4j_community import CommunityServer

PASSWORD = "sesame-open-42"


def settings(uri: str, folder: Path, password: str | None = PASSWORD, **neo4j: object) -> Settings:
    file = folder / "password"
    if password is not None:
        file.write_text(password)
    return settings_with(neo4j={"uri": uri, "username": "neo4j", "password_file": str(file), **neo4j})


def findings_of(settings: Settings, *, login: bool = True) -> dict[Check, CheckFinding]:
    task = DiscoverTask(settings=settings.model_dump(mode="json"))
    return {one.check: one for one in (*before_login(settings.neo4j), *judge(see(task), login=login))}


def outcomes(found: dict[Check, CheckFinding]) -> dict[str, str]:
    return {check.value: one.outcome.value for check, one in found.items()}


def test_with_all_rights_every_check_passes_except_that_of_the_closed_backup_ports(
    bolt_server: Callable[..., BoltServer], tmp_path: Path
) -> None:
    server = bolt_server(three_servers().with_users(User("neo4j", PASSWORD)))
    found = findings_of(settings(f"neo4j://{server.addresses['server-0']}", tmp_path, servers=["127.0.0.1:1"]))

    assert outcomes(found) == {
        "password": "ok", "host": "ok", "bolt": "ok", "role": "ok", "backup_listeners": "ok", "backup_ports": "FAIL",
        "server_clock": "ok",
    }  # fmt: skip
    assert "127.0.0.1:1 refused the connection" in found[Check.BACKUP_PORTS].found
    assert "the servers accept other machines by their settings" in found[Check.BACKUP_PORTS].advice


def test_a_listener_that_is_closed_by_a_setting_is_named(
    bolt_server: Callable[..., BoltServer], tmp_path: Path
) -> None:
    cluster = three_servers()
    for one in cluster.servers:
        cluster = cluster.with_settings(one.name, {"server.backup.enabled": "false"})
    server = bolt_server(cluster.with_settings("server-2", {"server.backup.listen_address": "0.0.0.0:6362"}))

    found = findings_of(settings(server.uri("server-0", scheme="neo4j"), tmp_path, servers=["127.0.0.1:1"]))

    assert found[Check.BACKUP_LISTENERS].outcome.value == "warn"
    assert "2 of 3 servers accept no other machine" in found[Check.BACKUP_LISTENERS].found
    assert "server.backup.enabled is false" in found[Check.BACKUP_LISTENERS].found


def test_settings_that_the_role_may_not_see_are_unknown(bolt_server: Callable[..., BoltServer], tmp_path: Path) -> None:
    server = bolt_server(three_servers().with_users(User("neo4j", PASSWORD, show_settings=("server.default*",))))

    found = findings_of(settings(server.uri("server-0", scheme="neo4j"), tmp_path, servers=["127.0.0.1:1"]))

    assert found[Check.BACKUP_LISTENERS].outcome.value == "unknown"
    assert "open the port" in found[Check.BACKUP_PORTS].advice


def test_a_role_that_lists_only_system_fails(bolt_server: Callable[..., BoltServer], tmp_path: Path) -> None:
    server = bolt_server(three_servers().with_users(User("neo4j", PASSWORD, databases=())))

    found = findings_of(settings(f"neo4j://{server.addresses['server-0']}", tmp_path))

    assert (found[Check.BOLT].outcome.value, found[Check.ROLE].outcome.value) == ("ok", "FAIL")
    assert "only `system`" in found[Check.ROLE].found


def test_a_missing_password_and_a_host_without_an_address_are_named(tmp_path: Path) -> None:
    found = findings_of(settings("neo4j://no-such-host.invalid", tmp_path, None), login=False)

    assert outcomes(found) == {
        "password": "FAIL", "host": "FAIL", "bolt": "unknown", "role": "unknown",
        "backup_listeners": "unknown", "backup_ports": "unknown", "server_clock": "unknown",
    }  # fmt: skip
    assert f"{tmp_path / 'password'}: no such file" in found[Check.PASSWORD].found
    assert "no-such-host.invalid does not resolve" in found[Check.HOST].found


def test_a_real_server_passes_and_refuses_a_wrong_password(
    community_server: Callable[[str], CommunityServer], neo4j_version: str, tmp_path: Path
) -> None:
    server = community_server(neo4j_version)

    found = findings_of(settings(server.uri, tmp_path, server.password))
    wrong = findings_of(settings(server.uri, tmp_path, "not-the-password"))

    assert outcomes({check: found[check] for check in (Check.PASSWORD, Check.HOST, Check.BOLT)}) == {
        "password": "ok", "host": "ok", "bolt": "ok",
    }  # fmt: skip
    assert found[Check.ROLE].outcome.value != "FAIL"
    assert wrong[Check.BOLT].outcome.value == "FAIL"
    assert "refused the login" in wrong[Check.BOLT].found
