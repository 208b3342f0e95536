"""docs/discovery.md and role.cypher agree with the code."""

import re
from importlib import resources
from pathlib import Path

from backup_agent.cluster import bolt

PAGE = (Path(__file__).parents[2] / "docs/discovery.md").read_text()
ROLE = (resources.files("backup_agent.cluster") / "role.cypher").read_text()


def flat(text: str) -> str:
    return " ".join(text.split())


def test_the_page_shows_the_statements_of_discovery() -> None:
    assert bolt.DATABASES in flat(PAGE)


def test_every_failure_in_the_table_of_the_page_exists_in_the_code() -> None:
    table = PAGE.partition("## When it fails")[2].partition("## What was tried")[0]
    named = [
        words for row in re.findall(r"^\| (.+?) \|", table, re.MULTILINE)[2:] for words in re.split(r" / | … s", row)
    ]
    known = " ".join(row.text for row in bolt._FAILURES) + " gave no answer within"

    for words in filter(None, named):
        last = words.strip().partition(": ")[2] or words.strip()
        assert last in known.replace("{where}", "").replace(" of  ", " ").replace("  ", " "), words


def test_the_role_grants_the_rights_for_every_statement() -> None:
    for grant in ("ACCESS ON DATABASE *", "SHOW ALIAS", "SHOW SETTING", "dbms.components"):
        assert f"GRANT {grant}" in ROLE or f"PROCEDURE {grant}" in ROLE
    assert "NOT RUN ON ENTERPRISE" in ROLE
    for setting in re.findall(r"'([a-z_.]+)'", bolt.SETTINGS):
        assert setting in ROLE or setting.startswith("server.backup.")
