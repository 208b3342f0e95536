import os
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.settings.credentials import credentials
from backup_agent.settings.model import Neo4j


def neo4j(**keys: Any) -> Neo4j:
    return Neo4j.model_validate({"uri": "neo4j://x:7687", **keys})


def test_the_password_is_read_from_a_file_at_each_use(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    settings = neo4j(password_file=file)
    first = credentials(settings, {"NEO4J_PASSWORD": "other"})
    file.write_text("second\r\n")

    assert (first.username, first.password) == ("neo4j", "first")
    assert credentials(settings, {}).password == "second"


def test_without_a_file_the_password_is_that_of_the_environment() -> None:
    assert credentials(neo4j(username="backup"), {"NEO4J_PASSWORD": " p w "}).password == " p w "


def test_the_user_name_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "username").write_text("backup\n")

    assert credentials(neo4j(username_file=tmp_path / "username"), {"NEO4J_PASSWORD": "x"}).username == "backup"


def test_only_a_final_newline_is_not_part_of_a_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(" a b \r\n")

    assert credentials(neo4j(password_file=tmp_path / "password"), {}).password == " a b "


@pytest.mark.parametrize("content", ["hunter2\n\n", "hunter2\nmore", "hunter2\rmore", "\nhunter2"])
@pytest.mark.parametrize("source", ["password_file", "username_file", "NEO4J_PASSWORD"])
def test_a_credential_with_a_line_break_is_refused_and_not_quoted(tmp_path: Path, source: str, content: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content.encode())
    settings, environ = (neo4j(), {source: content}) if source.isupper() else (neo4j(**{source: file}), {})

    with pytest.raises(PermanentError, match="the credential contains a line break") as refused:
        credentials(settings, environ)

    assert source in refused.value.failure.error
    assert "hunter2" not in repr(refused.value.failure)


def test_a_password_file_may_be_a_link_as_kubernetes_mounts_it(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "password").write_text("hunter2")
    (tmp_path / "password").symlink_to("..data/password")

    assert credentials(neo4j(password_file=tmp_path / "password"), {}).password == "hunter2"


def test_a_fifo_is_refused_as_password_file_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "password")

    with pytest.raises(PermanentError, match="a fifo, not a regular file"):
        credentials(neo4j(password_file=tmp_path / "password"), {})


def test_without_a_password_the_error_says_where_to_put_it() -> None:
    with pytest.raises(PermanentError, match=r"neither neo4j\.password_file nor NEO4J_PASSWORD is set") as refused:
        credentials(neo4j(), {"NEO4J_PASSWORD": ""})

    assert refused.value.failure.reason is Reason.SOURCE_UNREACHABLE


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "no such file or directory"),
        (b"", "empty"),
        (b"\n", "empty"),
        (b"\xff\xfehunter2", "not text in UTF-8"),
        (b"x" * 70000, "too large"),
    ],
)
def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, fault: str) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(PermanentError) as refused:
        credentials(neo4j(password_file=file), {"NEO4J_PASSWORD": "x"})

    assert str(refused.value) == f"neo4j.password_file: {file}: {fault}"


def test_credentials_show_no_password() -> None:
    assert "hunter2" not in repr(credentials(neo4j(), {"NEO4J_PASSWORD": "hunter2"}))
