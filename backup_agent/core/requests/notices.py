"""What receivers are told: the begin and the end of runs, and changes of the health; and how it is written for them.

Receivers may be services of others. So a notice has no error text, which may name hosts, and a run's has no database.
"""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, assert_never

from pydantic import Field

from backup_agent.core.artifacts.records import Value
from backup_agent.core.escaping import for_slack


class ReceiverKind(StrEnum):
    """How a receiver is told, and of what."""

    PING = "ping"
    WEBHOOK = "webhook"
    SLACK = "slack"
    TEAMS = "teams"


class RunPhase(StrEnum):
    """What happened to a run."""

    START = "start"
    SUCCESS = "success"
    FAILURE = "failure"


class RunNotice(Value):
    """The begin or the end of the run of a request or a schedule."""

    about: Literal["run"] = "run"
    phase: RunPhase
    request: str
    state: str
    reason: str | None = None


class HealthNotice(Value):
    """Another state of the health."""

    about: Literal["health"] = "health"
    cluster: str
    health: str
    before: str
    """The state of which the receiver was told last; OK at first."""
    text: str
    """The first line of `status`: the state, and how many databases have which problem."""
    at: datetime


Notice = Annotated[RunNotice | HealthNotice, Field(discriminator="about")]


class Message(NamedTuple):
    """What is sent by POST."""

    suffix: str
    """What is added to the path of the receiver's URL."""
    content_type: str
    body: bytes


SUFFIXES = {RunPhase.START: "/start", RunPhase.SUCCESS: "", RunPhase.FAILURE: "/fail"}
"""As https://healthchecks.io/docs/http_api/ has them."""


def message(kind: ReceiverKind, notice: RunNotice | HealthNotice) -> Message:
    """Return what is sent to a receiver."""
    if isinstance(notice, RunNotice):
        return _ping(notice)
    return _json(_content(kind, notice))


def _ping(notice: RunNotice) -> Message:
    why = f" ({notice.reason})" if notice.reason else ""
    text = f"{notice.request}: {notice.state}{why}\n"
    return Message(SUFFIXES[notice.phase], "text/plain; charset=utf-8", text.encode())


def _json(content: dict[str, Any]) -> Message:
    return Message("", "application/json", json.dumps(content, ensure_ascii=False).encode())


def _content(kind: ReceiverKind, notice: HealthNotice) -> dict[str, Any]:
    line = f"{notice.cluster}: {notice.text} (before: {notice.before})"
    match kind:
        case ReceiverKind.SLACK:
            return {"text": for_slack(line)}
        case ReceiverKind.TEAMS:
            return _card(line)
        case ReceiverKind.WEBHOOK | ReceiverKind.PING:
            at = notice.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return {
                "event": "health",
                "cluster": notice.cluster,
                "health": notice.health,
                "before": notice.before,
                "text": notice.text,
                "at": at,
            }
        case _:
            assert_never(kind)


def _card(line: str) -> dict[str, Any]:
    """Return an adaptive card, as the workflows of Teams take it from a webhook."""
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "body": [{"type": "TextBlock", "text": line, "wrap": True}],
    }
    card = {"contentType": "application/vnd.microsoft.card.adaptive", "content": content}
    return {"type": "message", "attachments": [card]}
