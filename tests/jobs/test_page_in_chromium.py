"""The status page in a real browser, as the agent's server sends it: desktop and phone, light and dark."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from backup_agent.core.page.overview import Overview
from backup_agent.core.page.style import STYLE, waiting
from backup_agent.jobs.page import html
from backup_agent.supervisor.status.http import HTML, Answer, HttpServer, status_pages
from tests.components.chromium import Chromium, Tab
from tests.pages import a_status, demo, large, with_text
from tests.polling import until

Open = Callable[..., Tab]

OVERFLOWING = """[...document.querySelectorAll("body *")].filter(
    one => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".wide, .skip")).map(one => one.outerHTML.slice(0, 80))"""
"""A script that returns the elements beyond the right edge of the window. A wide table scrolls in its own frame."""


@pytest.fixture(name="open_page")
def _open_page(chromium: Chromium) -> Iterator[Open]:
    """Return a function that opens a page in a tab: that of a made-up cluster, or the one that a function returns."""
    with ExitStack() as stack:

        def open_page(shown: Overview | Callable[[], Answer], width: int, scheme: str = "light") -> Tab:
            body = html(shown).encode() if isinstance(shown, Overview) else b""
            answer = shown if callable(shown) else lambda: (200, HTML, body)
            server = HttpServer("http.page", "127.0.0.1", 0, status_pages(a_status, answer))
            server.start()
            stack.callback(server.close)
            tab = chromium.open(f"http://127.0.0.1:{server.port}/", width=width, scheme=scheme)
            stack.callback(tab.close)
            return tab

        yield open_page


@pytest.mark.parametrize(
    ("shown", "width", "scheme"),
    [(demo, 1280, "light"), (demo, 800, "light"), (demo, 390, "dark"), (large, 390, "light")],
    ids=["desktop", "tablet", "phone-dark", "phone-200-databases"],
)
def test_the_page_is_shown_whole_and_asks_for_nothing_else(
    open_page: Open, shown: Callable[[], Overview], width: int, scheme: str
) -> None:
    page = shown()
    databases = (*page.points, *page.folded)

    tab = open_page(page, width, scheme)

    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    text = tab.evaluate("document.body.innerText")
    assert page.headline in text
    assert all(problem.text in text for problem in page.problems)
    assert all(one.points.summary in text for one in databases)
    assert text.count("backup-agent restore ") == sum(bool(row.command) for one in databases for row in one.points.rows)
    assert (len(tab.requests), tab.complaints) == (1, [])
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(OVERFLOWING) == []
    assert tab.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--page')") == ground(scheme)


def ground(scheme: str) -> str:
    """Return the background colour of the page in a colour scheme."""
    light, dark, *_ = re.findall(r"--page: (#[0-9a-f]{6})", STYLE)
    return str(light if scheme == "light" else dark)


@pytest.mark.parametrize("width", [390, 1280])
def test_names_without_a_break_do_not_widen_the_page(open_page: Open, width: int) -> None:
    tab = open_page(with_text(demo(), "n" * 128), width)

    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")

    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(OVERFLOWING) == []


def test_the_keyboard_skips_to_the_content_and_unfolds_the_restore_points(open_page: Open) -> None:
    tab = open_page(demo(), 1280)

    tab.press("Tab")
    assert tab.evaluate("document.activeElement.innerText") == "Skip to the content"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().left >= 0")
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"

    tab.evaluate("document.querySelector('summary').focus()")
    tab.press("Enter")
    assert tab.evaluate("document.querySelector('details').open")
    assert "backup-agent restore" in tab.evaluate("document.querySelector('details').innerText")
    assert tab.evaluate("getComputedStyle(document.querySelector('.points td:nth-child(5)')).userSelect") == "all"


def test_a_link_to_a_folded_time_line_unfolds_it(open_page: Open) -> None:
    page = large()
    tab = open_page(page, 1280)
    assert not tab.evaluate("document.querySelector('.more').open")

    tab.evaluate(f"document.querySelector('a[href=\"#{page.folded[-1].anchor}\"]').click()")

    until(lambda: tab.evaluate("document.querySelector('.more').open"), "unfolded time line")


def test_a_printed_page_has_no_navigation(open_page: Open) -> None:
    tab = open_page(demo(), 1280)

    tab.emulate("light", "print")

    assert tab.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert tab.evaluate("getComputedStyle(document.querySelector('.scale')).position") == "static"


def test_the_waiting_page_is_replaced_by_the_status_page_once_it_exists(open_page: Open) -> None:
    answers: list[Answer] = [(200, HTML, html(demo()).encode()), (503, HTML, waiting("soon"))]

    tab = open_page(lambda: answers.pop() if len(answers) > 1 else answers[0], 390)

    until(lambda: tab.evaluate("document.title").startswith("DEGRADED"), "the page", pause=0.2)
    assert set(tab.requests) == {tab.evaluate("location.href")}
