import os
import stat
from pathlib import Path

import pytest

from backup_agent.core.neo4j.command import MIB, Memory
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.neo4j_admin.configuration import conf_lines, write
from backup_agent.settings.model import BackupTls

SMALL = Memory(64 * MIB, 8 * MIB)


@pytest.fixture
def tls(tmp_path: Path) -> BackupTls:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(f"-----BEGIN {name}-----\n")
    return BackupTls(ca_file=tmp_path / "ca", cert_file=tmp_path / "cert", key_file=tmp_path / "key")


def test_only_its_user_can_read_the_folder_which_has_every_file_of_the_configuration(
    tmp_path: Path, tls: BackupTls
) -> None:
    conf = tmp_path / "conf"

    write(conf, SMALL, tls)

    lines = dict(line.split("=", 1) for line in (conf / "neo4j.conf").read_text().splitlines())
    assert stat.S_IMODE(conf.stat().st_mode) & 0o007 == 0
    assert Path(lines["dbms.ssl.policy.backup.trusted_dir"], "ca.crt").read_text() == "-----BEGIN ca-----\n"
    assert Path(lines["server.directories.logs"]).is_dir()
    assert lines["dbms.ssl.policy.backup.private_key"] == str(tls.key_file)


def test_no_key_is_ever_copied_onto_the_volume(tmp_path: Path, tls: BackupTls) -> None:
    write(tmp_path / "conf", SMALL, tls)

    files = [path for path in (tmp_path / "conf").rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == ["ca.crt", "neo4j.conf"]
    assert not [path for path in files if "BEGIN key" in path.read_text()]


def test_the_next_run_uses_a_rotated_ca(tmp_path: Path, tls: BackupTls) -> None:
    write(tmp_path / "first", SMALL, tls)
    tls.ca_file.write_text("new")

    write(tmp_path / "second", SMALL, tls)

    assert (tmp_path / "second/tls/trusted/ca.crt").read_text() == "new"


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
def test_a_missing_file_is_named(tmp_path: Path, tls: BackupTls, name: str) -> None:
    (tmp_path / name).unlink()

    with pytest.raises(PermanentError) as refused:
        write(tmp_path / "conf", SMALL, tls)

    assert refused.value.failure.reason is Reason.SOURCE_UNREACHABLE
    assert f"neo4j.backup_tls: {tmp_path / name} cannot be read" in refused.value.failure.error


def test_without_tls_the_folder_has_the_configuration_only(tmp_path: Path) -> None:
    write(tmp_path / "conf", SMALL)

    assert sorted(path.name for path in (tmp_path / "conf").iterdir()) == ["logs", "neo4j.conf"]


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
def test_a_fifo_is_refused_as_file_of_the_policy_without_waiting(tmp_path: Path, tls: BackupTls, name: str) -> None:
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)

    with pytest.raises(PermanentError, match=f"{name} cannot be read: a FIFO, not a regular file"):
        write(tmp_path / "conf", SMALL, tls)


def test_the_files_of_the_policy_may_be_links_as_kubernetes_mounts_them(tmp_path: Path, tls: BackupTls) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).rename(tmp_path / f"{name}.data")
        (tmp_path / name).symlink_to(f"{name}.data")

    write(tmp_path / "conf", SMALL, tls)

    assert (tmp_path / "conf" / "tls" / "trusted" / "ca.crt").is_file()


def test_the_configuration_without_tls_is_two_lines() -> None:
    assert conf_lines(Path("/run/conf"), Memory(64 * MIB, 8 * MIB)) == (
        "server.directories.logs=/run/conf/logs",
        "server.memory.pagecache.size=8m",
    )


def test_the_configuration_names_the_client_certificate_and_does_not_copy_it() -> None:
    tls = BackupTls(
        ca_file=Path("/tls/ca.crt"),
        cert_file=Path("/tls/tls.crt"),
        key_file=Path("/tls/tls.key"),
        verify_hostname=False,
    )

    assert conf_lines(Path("/run/conf"), Memory(None, None), tls) == (
        "server.directories.logs=/run/conf/logs",
        "dbms.ssl.policy.backup.enabled=true",
        "dbms.ssl.policy.backup.base_directory=/run/conf/tls",
        "dbms.ssl.policy.backup.trusted_dir=/run/conf/tls/trusted",
        "dbms.ssl.policy.backup.public_certificate=/tls/tls.crt",
        "dbms.ssl.policy.backup.private_key=/tls/tls.key",
        "dbms.ssl.policy.backup.verify_hostname=false",
    )


@pytest.mark.parametrize("path", ["/tls/key\nserver.x=1", "/tls/a\\b", "/tls/key "])
def test_a_path_that_cannot_be_written_into_neo4j_conf_is_refused(path: str) -> None:
    tls = BackupTls(ca_file=Path("/tls/ca"), cert_file=Path("/tls/cert"), key_file=Path(path))

    with pytest.raises(PermanentError, match=r"private_key: cannot be written into neo4j\.conf"):
        conf_lines(Path("/run/conf"), Memory(None, None), tls)
