"""The process that makes the status page: what it finds at the places, and the document that it writes."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_agent.catalog.contents import survey
from backup_agent.catalog.place import place_of
from backup_agent.cluster.saved_topology import save_topology
from backup_agent.core.page.overview import Overview
from backup_agent.core.page.style import STYLE
from backup_agent.core.page.task import FILE
from backup_agent.core.restore.asked import artifact_id
from backup_agent.jobs import page
from tests.builders import a_copy, a_topology, an_event_writer
from tests.core.hostile import TEXTS
from tests.examples import examples
from tests.jobs.worlds import NOW, World
from tests.pages import a_status, demo, large, with_text

EVIL = "</style></title><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x1b[2J\u202e{{ 7*7 }}"
VOID = {"meta", "path", "br"}


class Document(HTMLParser):
    """The elements and the texts of a document. A start tag is an element, whether or not an end tag follows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.elements}


DEMO = demo()
ORDINARY = Document(page.html(DEMO))


@given(st.just(EVIL) | TEXTS)
@settings(max_examples=examples(10), deadline=None)
def test_texts_from_outside_add_no_element_and_no_attribute(text: str) -> None:
    shown: Overview = with_text(DEMO, text)

    found = Document(page.html(shown))

    assert found.names <= ORDINARY.names
    known = {(name, key) for name, attributes in ORDINARY.elements for key in attributes}
    assert {(name, key) for name, attributes in found.elements for key in attributes} <= known
    assert found.text.count(STYLE) == 1


def test_control_characters_are_shown_as_escapes() -> None:
    shown = with_text(DEMO, "a\x1b[2J\u202eb")

    text = page.html(shown)

    assert "a\\x1b[2J\\u202eb" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_the_document_has_no_script_no_style_of_an_element_and_nothing_from_elsewhere() -> None:
    names = {key for _, attributes in ORDINARY.elements for key in attributes}
    links = [
        value or ""
        for _, attributes in ORDINARY.elements
        for key, value in attributes.items()
        if key in ("href", "src", "action")
    ]

    assert "script" not in ORDINARY.names
    assert not {name for name in names if name.startswith("on") or name in ("style", "src")}
    assert all(link.startswith("#") or link == "/status.json" for link in links)
    assert STYLE in page.html(DEMO)


def test_every_link_leads_to_a_part_of_the_page() -> None:
    ids = [attributes["id"] for _, attributes in ORDINARY.elements if "id" in attributes]
    links = {attributes["href"] for name, attributes in ORDINARY.elements if name == "a"}
    labels = {attributes["aria-labelledby"] for _, attributes in ORDINARY.elements if "aria-labelledby" in attributes}

    assert len(ids) == len(set(ids))
    assert {link for link in links if link and link.startswith("#")} <= {f"#{one}" for one in ids}
    assert labels <= set(ids)


def test_headings_are_in_order_and_the_landmarks_are_there() -> None:
    levels = [int(name[1]) for name, _ in ORDINARY.elements if re.fullmatch("h[1-6]", name)]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert {"header", "nav", "main", "footer"} <= ORDINARY.names
    assert ("html", {"lang": "en"}) in ORDINARY.elements


def test_every_table_names_its_columns_and_rows() -> None:
    scopes = [attributes.get("scope") for name, attributes in ORDINARY.elements if name == "th"]

    assert set(scopes) == {"col", "row"}


@pytest.mark.patience
def test_two_hundred_databases_and_five_thousand_points_take_less_than_a_megabyte() -> None:
    text = page.html(large(200, 25))

    assert text.count("backup-agent restore ") == 5000
    assert len(text.encode()) <= 1_000_000


# The places


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    return World(tmp_path, "offsite", destinations={"offsite": {"bucket": "backups"}, "tape": {"bucket": "tape"}})


def made(world: World, **fields: Any) -> str:
    """Return the page that the process writes."""
    events: list[dict[str, Any]] = []
    (world.root / ".agent").mkdir(exist_ok=True)
    page.make(a_status(now=NOW, **fields), world.settings, an_event_writer(events))
    assert events == [{"event": "page", "error": None}]
    return (world.root / FILE).read_text()


def rows(text: str) -> list[str]:
    """Return the texts of the cells of each restore point."""
    return [re.sub(r"<td>", "|", row).strip("|").strip() for row in re.findall(r"<tr>(<td>\d{4}-.*)", text)]


def test_the_volume_is_read_with_its_holds_and_damage(world: World) -> None:
    full = world.add(2, 1, 10)
    link = world.add(1, 11, 20, parent=full)
    world.place = "local"
    world.hold(full)
    world.damage(link, link)

    newest, oldest = rows(made(world))

    assert "at local: " in newest
    assert "backup-agent" not in newest
    assert "held: audit" in oldest
    assert oldest.endswith(f"|backup-agent restore {artifact_id(full)}")


def test_copies_are_known_from_the_notes_and_from_the_index(world: World) -> None:
    copied, missing = world.add(3, 1, 10), world.add(2, 1, 20)
    record = (world.root / f"{copied}.json").read_bytes()
    offsite = place_of("offsite", world.settings)
    offsite.record_notes.add(copied, record)
    survey(place_of("local", world.settings))
    gone = world.add(9, 1, 5)
    offsite.index.parent.mkdir(exist_ok=True)
    survey(place_of("local", world.settings))
    place_of("local", world.settings).index.rename(offsite.index)
    world.remove(gone)

    text = made(world)

    newest, middle, oldest = rows(text)
    assert "copy missing at tape" in newest
    assert "copy missing at offsite" not in middle
    assert "at offsite only" in oldest
    assert artifact_id(missing) in newest


def test_a_database_that_is_only_at_a_destination_is_shown(world: World) -> None:
    world.add(9, 1, 5, database="old")
    survey(place_of("local", world.settings))
    offsite = place_of("offsite", world.settings)
    place_of("local", world.settings).index.rename(offsite.index)
    for path in world.root.glob("default/old/*"):
        path.unlink()

    assert re.search(r'<h3 id="db-\w+-n">old</h3>', made(world))


def test_a_page_that_cannot_be_written_is_reported(world: World) -> None:
    (world.root / FILE).mkdir(parents=True)
    events: list[dict[str, Any]] = []

    page.make(a_status(), world.settings, an_event_writer(events))

    [event] = events
    assert event["event"] == "page"
    assert "page.html" in event["error"]


def test_the_draft_of_a_process_that_was_killed_is_removed(world: World) -> None:
    left = (world.root / FILE).with_name(".tmp-7-1")
    left.parent.mkdir(parents=True)
    left.touch()

    made(world)

    assert not left.exists()


def test_in_a_rendered_pod_the_command_names_the_pod(world: World) -> None:
    key = world.add(1, 1, 10)
    address = "demo-server-0.demo-headless.prod.svc.cluster.local:7687"
    save_topology(world.root, a_topology(a_copy(address=address)))

    [row] = rows(made(world))

    assert row.endswith(f"|kubectl exec -n prod demo-backup-0 -- backup-agent restore {artifact_id(key)}")


def test_of_two_artifacts_with_the_same_id_the_second_is_named_by_its_key(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = world.add(2, 1, 10), world.add(1, 1, 20)
    monkeypatch.setattr(page, "artifact_id", lambda _: "01234567")

    newest, oldest = rows(made(world))

    assert newest.endswith("backup-agent restore 01234567")
    assert oldest.endswith(f"backup-agent restore &#39;{first}&#39;")
    assert second
