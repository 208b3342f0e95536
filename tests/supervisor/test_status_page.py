"""The status page, by a virtual clock: when it is made, and what clients get while they wait."""

import queue
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from backup_agent.core.page.task import FILE, PageTask
from backup_agent.core.reasons import Reason
from backup_agent.supervisor import agent as loop
from backup_agent.supervisor.agent import PageAsked
from backup_agent.supervisor.children import runs
from backup_agent.supervisor.work.status_page import YOUNG_SECONDS, Ask, Reply
from tests.supervisor.scripted import BACKUP_SECONDS, Child, ScriptedAgent

MIB = 1 << 20

Start = Callable[..., ScriptedAgent]


@pytest.fixture(name="start")
def _start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    def start(limit: int | None = None) -> ScriptedAgent:
        agent = ScriptedAgent(tmp_path, monkeypatch, {"offsite": "works"}, limit=limit)
        agent.go_until(agent.now + 60)
        return agent

    return start


def ask(agent: ScriptedAgent, seconds: float = 5.0) -> Reply:
    """Ask for the page. The client waits for at most `seconds`."""
    reply: Reply = queue.SimpleQueue()
    agent.agent._handle(PageAsked(Ask(reply, agent.now + seconds)))
    agent.agent._advance()
    return reply


def children(agent: ScriptedAgent) -> list[Child]:
    return [child for child in agent.children if child.module == "backup_agent.jobs.page"]


def answers(*replies: Reply) -> list[str | None]:
    """Return the replies that have arrived."""
    return [reply.get_nowait() for reply in replies if not reply.empty()]


def test_no_page_is_made_while_no_client_asks(start: Start) -> None:
    agent = start()

    agent.go_until(agent.now + 10 * YOUNG_SECONDS)

    assert children(agent) == []


def test_one_process_makes_the_page_for_all_clients_that_wait(start: Start) -> None:
    agent = start()

    first, second = ask(agent), ask(agent)
    agent.go_until(agent.now + 10)

    assert answers(first, second) == [None, None]
    [child] = children(agent)
    assert PageTask.model_validate(child.task).status.cluster == "demo"


def test_the_page_is_made_at_most_once_a_minute(start: Start) -> None:
    agent = start()
    ask(agent)
    agent.go_until(agent.now + 10)

    assert answers(ask(agent)) == [None]
    agent.go_until(agent.now + YOUNG_SECONDS - 20)
    assert answers(ask(agent)) == [None]
    assert len(children(agent)) == 1

    agent.go_until(agent.now + 20)
    old = ask(agent)
    assert answers(old) == []
    agent.go_until(agent.now + 10)
    assert answers(old) == [None]
    assert len(children(agent)) == 2


def test_a_client_that_has_waited_too_long_starts_no_process(start: Start) -> None:
    agent = start(limit=256 * MIB)
    agent.ask("r1", "db-1")
    agent.go_until(agent.now + 5)

    ask(agent)
    agent.go_until(agent.now + 2 * BACKUP_SECONDS)

    assert children(agent) == []


def test_where_memory_is_scarce_the_page_waits_for_backups(start: Start) -> None:
    agent = start(limit=256 * MIB)
    agent.ask("r1", "db-1")
    agent.go_until(agent.now + 5)

    reply = ask(agent, seconds=100)
    agent.go_until(agent.now + 5)
    assert children(agent) == []

    agent.go_until(agent.now + 3 * BACKUP_SECONDS)
    assert answers(reply) == [None]


def test_where_memory_is_scarce_the_process_gives_way_to_a_backup(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = start(limit=256 * MIB)
    monkeypatch.setattr("tests.supervisor.scripted.PAGE_SECONDS", 100.0)
    reply = ask(agent, seconds=200)

    agent.ask("r1", "db-1")
    agent.go_until(agent.now + 3 * BACKUP_SECONDS)

    assert agent.answer("r1")["state"] == "succeeded"
    agent.go_until(agent.now + 110)
    assert answers(reply) == [None]
    assert len(children(agent)) == 2


def test_a_page_that_cannot_be_made_is_reported_logged_and_tried_again(start: Start) -> None:
    agent = start()
    agent.page_fault = "no space left on device"

    with capture_logs() as logs:
        reply = ask(agent)
        agent.go_until(agent.now + 10)

    assert answers(reply) == ["no space left on device"]
    assert [(one["event"], one["error"]) for one in logs] == [("page not made", "no space left on device")]
    agent.page_fault = None
    again = ask(agent)
    agent.go_until(agent.now + 10)
    assert answers(again) == [None]


def test_clients_get_an_error_if_the_process_dies(start: Start) -> None:
    agent = start()
    reply = ask(agent)

    children(agent)[0].end(-9)
    agent.go_until(agent.now + 1)

    assert answers(reply) == ["its process took too long, or ended without a result"]


def test_clients_get_an_error_if_the_process_cannot_be_started(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    agent = start()
    monkeypatch.setattr(runs, "Child", refuse)

    assert answers(ask(agent)) == ["its process could not be started: Resource temporarily unavailable"]


# What a client gets


@pytest.fixture(name="answering")
def _answering(start: Start, monkeypatch: pytest.MonkeyPatch) -> tuple[ScriptedAgent, list[str | None]]:
    """An agent that gives each client the next of some answers at once. When they are used up, it does not answer."""
    agent, given = start(), list[str | None]()

    def put(message: PageAsked) -> None:
        if given:
            message.ask.reply.put(given.pop())

    agent.agent._inbox = type("Inbox", (), {"put": staticmethod(put)})()
    monkeypatch.setattr(loop, "ASK_SECONDS", 0.01)
    return agent, given


def test_a_client_gets_the_page_or_a_waiting_page_that_reloads_itself(
    answering: tuple[ScriptedAgent, list[str | None]],
) -> None:
    agent, given = answering
    file = agent.folder / "root" / FILE
    file.parent.mkdir()
    file.write_bytes(b"<!doctype html>")

    code, kind, body = agent.agent.page()
    assert (code, kind) == (503, "text/html; charset=utf-8")
    assert b"is being made" in body

    given.append(None)
    assert agent.agent.page() == (200, "text/html; charset=utf-8", b"<!doctype html>")


@pytest.mark.parametrize("fault", ["<b>no space</b>", None], ids=["not-made", "not-there"])
def test_the_error_for_a_client_does_not_contain_the_text_of_the_fault(
    answering: tuple[ScriptedAgent, list[str | None]], fault: str | None
) -> None:
    agent, given = answering
    given.append(fault)

    code, _, body = agent.agent.page()

    assert code == 503
    assert b"cannot be made" in body
    assert b"no space" not in body


def test_the_end_of_the_agent_ends_the_process(start: Start) -> None:
    agent = start()
    ask(agent)

    agent.agent._begin_end()

    [run] = [run for _, run in agent.parts.runs if run.kind == "page"]
    assert run.ending is Reason.INTERRUPTED
