"""The doctor's steps on this machine: neo4j-admin, volume, keys and certificates."""

import errno
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import socket
from typing import Any

import pytest
import trustme

from backup_agent.catalog.place import place_of
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.doctor.checks import Check, CheckFinding
from backup_agent.core.requests.events import ChecksEnded, CheckTold
from backup_agent.core.requests.tasks import CheckTask
from backup_agent.jobs import check_admin, check_keys, check_volume
from backup_agent.jobs.event_writer import EventWriter
from backup_agent.settings.model import Settings
from backup_agent.signing import key_file
from tests.builders import a_record, settings_with
from tests.catalog.places import filled

OTHER_USER = 64001


def settings(folder: Path, **sections: Any) -> Settings:
    storage = {"root": str(folder / "backups"), "require_volume": "never"}
    return settings_with(**{"storage": storage, "requests": {"folder": str(folder / "requests")}, **sections})


def findings_in(lines: list[str]) -> dict[Check, CheckFinding]:
    found = [CheckTold.model_validate_json(line).finding for line in lines if '"event":"check"' in line]
    assert ChecksEnded.model_validate_json(lines[-1])
    return {one.check: one for one in found}


def admin(settings: Settings, versions: tuple[str, ...] = ()) -> dict[Check, CheckFinding]:
    lines: list[str] = []
    task = CheckTask(settings={}, server_versions=versions)
    check_admin.check(task, settings, EventWriter(lines.append))
    return findings_in(lines)


def test_if_neo4j_admin_is_missing_the_finding_names_the_searched_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NEO4J_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    found = admin(settings(tmp_path), ("5.26.1",))

    assert found[Check.NEO4J_ADMIN].outcome.value == "FAIL"
    assert f"it is not in PATH ({tmp_path})" in found[Check.NEO4J_ADMIN].found
    assert found[Check.VERSIONS].outcome.value == "unknown"


def test_the_program_of_the_settings_is_found_without_starting_it(tmp_path: Path) -> None:
    program = tmp_path / "neo4j-admin"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)

    found = admin(settings(tmp_path, neo4j={"uri": "neo4j://demo", "admin": str(program)}))

    assert found[Check.NEO4J_ADMIN].outcome.value == "ok"
    assert not (tmp_path / "started").exists()


def volume(settings: Settings, *, write: bool = False) -> dict[Check, CheckFinding]:
    return {one.check: one for one in check_volume.findings(settings, write=write)}


def test_a_volume_that_does_not_exist_yet_is_not_created(tmp_path: Path) -> None:
    found = volume(settings(tmp_path))

    assert "does not exist yet, and can be made" in found[Check.VOLUME].found
    assert {one.outcome.value for one in found.values()} <= {"ok", "unknown"}
    assert list(tmp_path.iterdir()) == []


def test_the_next_full_is_expected_to_need_twice_the_largest_one(tmp_path: Path) -> None:
    root = tmp_path / "backups"
    root.mkdir(mode=0o770)
    filled(root).add(a_record(0), files=True)
    filled(root).add(a_record(24, database="web"), files=True)
    index = place_of(VOLUME, settings(tmp_path)).index

    largest = max(check_volume.largest_fulls(settings(tmp_path)), key=lambda one: one.size)
    found = volume(settings(tmp_path), write=True)

    assert found[Check.ROOM].outcome.value == "ok"
    assert f"default/{largest.database}" in found[Check.ROOM].found
    assert found[Check.HARD_LINKS].found == "hard links work"
    assert not index.exists()


def test_a_file_in_the_place_of_the_root_is_reported(tmp_path: Path) -> None:
    (tmp_path / "backups").write_text("")

    assert volume(settings(tmp_path))[Check.VOLUME].found.endswith("backups: it is not a folder")


def test_a_folder_that_may_not_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir(mode=0o500)
    tmp_path.chmod(0o755)
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:  # root may write everywhere
                os.setresuid(OTHER_USER, OTHER_USER, OTHER_USER)
            os._exit("may not write there" not in volume(settings(tmp_path))[Check.VOLUME].found)
        finally:
            os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EMFILE, "no instance is free for this user on this node: fs.inotify.max_user_instances is 7"),
        (errno.ENOSPC, "no watch is free for this user on this node: fs.inotify.max_user_watches is 7"),
        (errno.ENOSYS, "inotify: Function not implemented"),
    ],
)
def test_an_exhausted_limit_of_inotify_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: str
) -> None:
    def refused(_: Path) -> None:
        raise OSError(number, os.strerror(number))

    for name in ("max_user_instances", "max_user_watches"):
        (tmp_path / name).write_text("7\n")
    monkeypatch.setattr(check_volume, "INOTIFY", tmp_path)
    monkeypatch.setattr(check_volume, "_watch", refused)
    found = volume(settings(tmp_path))[Check.REQUESTS_FOLDER]

    assert found.outcome.value == "warn"
    assert f"cannot be watched, so it is listed every 5 seconds: {expected}" in found.found


def test_inotify_is_tried_at_the_folder_itself(tmp_path: Path) -> None:
    assert check_volume.watch_fault(tmp_path) is None
    assert check_volume.watch_fault(tmp_path / "missing") == "inotify: No such file or directory"


def certificate(folder: Path, days: int) -> Path:
    end = datetime.now(UTC) + timedelta(days=days)
    file = folder / f"{days}.pem"
    trustme.CA().issue_cert("localhost", not_after=end).cert_chain_pems[0].write_to_path(str(file))
    return file


@pytest.mark.parametrize(("days", "outcome"), [(3, "FAIL"), (20, "warn"), (300, "ok")])
def test_a_certificate_in_a_file_is_judged_by_its_expiry(tmp_path: Path, days: int, outcome: str) -> None:
    file = certificate(tmp_path, days)

    found = check_keys.certificates(
        settings(tmp_path, neo4j={"uri": "neo4j+s://127.0.0.1:1", "ca_file": str(file)}), ()
    )

    assert found.outcome.value == outcome
    assert f"neo4j.ca_file ({file}) ends on" in found.found


def test_a_file_without_a_certificate_is_named_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("hunter2")
    neo4j = {"uri": "neo4j+s://127.0.0.1:1", "ca_file": str(tmp_path / "ca.crt")}

    found = check_keys.certificates(settings(tmp_path, neo4j=neo4j), ())

    assert (found.outcome.value, "hunter2" in found.found) == ("unknown", False)
    assert f"neo4j.ca_file: {tmp_path}/ca.crt" in found.found


@contextmanager
def shows(issued: trustme.LeafCert) -> Iterator[int]:
    """Serve TLS with a certificate to one client. Yield the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    with socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(10)

        def serve() -> None:
            with suppress(OSError):
                client, _ = listening.accept()
                with context.wrap_socket(client, server_side=True) as tls:
                    tls.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def test_the_certificate_of_a_server_is_judged_without_its_ca(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("127.0.0.1", not_after=datetime.now(UTC) + timedelta(days=2))
    with shows(issued) as port:
        found = check_keys.certificates(settings(tmp_path, neo4j={"uri": f"neo4j+s://127.0.0.1:{port}"}), ())

    assert found.outcome.value == "FAIL"
    assert f"neo4j.uri (127.0.0.1:{port}) ends on" in found.found


def test_the_certificates_of_backup_ports_are_judged_if_the_ports_use_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("agent")
    authority.cert_pem.write_to_path(str(tmp_path / "ca"))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
    own.private_key_pem.write_to_path(str(tmp_path / "key"))
    tls = {f"{name}_file": str(tmp_path / name) for name in ("ca", "cert", "key")}
    neo4j = {"uri": "neo4j+s://127.0.0.1:1", "backup_tls": tls}
    issued = authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) + timedelta(days=2))
    with shows(issued) as port:
        found = check_keys.certificates(settings(tmp_path, neo4j=neo4j), (f"127.0.0.1:{port}",))
    plain = check_keys.certificates(settings(tmp_path, neo4j=neo4j), ("127.0.0.1:1",))
    unused = check_keys.certificates(settings(tmp_path, neo4j={"uri": "neo4j+s://127.0.0.1:1"}), ("127.0.0.1:1",))

    assert found.outcome.value == "FAIL"
    assert f"the backup port 127.0.0.1:{port} ends on" in found.found
    assert (plain.outcome.value, plain.found) == (
        "unknown",
        "the backup port 127.0.0.1:1 shows no certificate: Connection refused",
    )
    assert unused.found == "no certificate is in use"


def test_a_missing_signing_key_is_a_warning_and_an_existing_one_can_sign(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    missing = check_keys.signing_key(settings(tmp_path, signing={"key_file": str(key)}))
    key_file.create(key)

    assert missing.outcome.value == "warn"
    assert check_keys.signing_key(settings(tmp_path, signing={"key_file": str(key)})).found == f"{key} can sign"
    assert check_keys.signing_key(settings(tmp_path)).outcome.value == "ok"
