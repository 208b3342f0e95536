"""docs/signing.md: its settings are valid, and what it quotes exists."""

import re
import textwrap
from pathlib import Path

import pytest

from backup_agent.settings.load import parse

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "signing.md").read_text()
LEAST = "cluster: demo\nneo4j: {uri: 'neo4j://demo-client:7687'}\n"
EXAMPLES = [textwrap.dedent(text) for text in re.findall(r"(?m)(?:^ +signing:\n(?: +\w+: .+\n)+)", PAGE)]


def test_the_page_has_the_settings_of_a_new_key_and_of_a_stolen_one() -> None:
    assert [["key_file", "trusted"], ["key_file", "revoked"]] == [
        re.findall(r"^  (\w+):", text, re.MULTILINE) for text in EXAMPLES
    ]


@pytest.mark.parametrize("text", EXAMPLES, ids=["new", "stolen"])
def test_the_settings_on_the_page_are_valid(text: str) -> None:
    assert parse((LEAST + text).encode(), {}, "page").settings.signing.key_file is not None


@pytest.mark.parametrize(
    ("quoted", "module"),
    [
        ("records not signed", "core/protection/health.py"),
        ("records are not signed", "supervisor/work/child_events.py"),
        ("signing_fault", "supervisor/status/metrics.py"),
        ("catalog accept --signed", "cli/catalog.py"),
    ],
)
def test_what_the_page_quotes_is_what_the_agent_says(quoted: str, module: str) -> None:
    assert quoted in PAGE
    assert quoted.rpartition(" --")[2] in (ROOT / "backup_agent" / module).read_text()
