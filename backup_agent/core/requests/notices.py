"""Notifications: the begin and the end of runs, and changes of the health, in the form of each kind of receiver.

Receivers may be services of other companies. So no notice has an error text, which may name hosts, and the notice of
a run has no name of a database.
"""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, assert_never

from pydantic import Field

from backup_agent.core.artifacts.records import Value
from backup_agent.core.escaping import for_slack


class ReceiverKind(StrEnum):
    """The form of the notifications to a receiver, and what they are about."""

    PING = "ping"
    WEBHOOK = "webhook"
    SLACK = "slack"
    TEAMS = "teams"


class RunPhase(StrEnum):
    """What happened to a run."""

    START = "start"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLATION = "cancellation"


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
    """The state in the last notification to the receiver; OK at first."""
    text: str
    """The first line of `status`: the state, and how many databases have which problem."""
    at: datetime


class TrialNotice(Value):
    """A notice without content, by which a person tests whether a receiver gets notices."""

    about: Literal["trial"] = "trial"
    cluster: str
    at: datetime


Notice = Annotated[RunNotice | HealthNotice, Field(discriminator="about")]


class Message(NamedTuple):
    """The content of a POST request."""

    suffix: str
    """A suffix of the path of the receiver's URL."""
    content_type: str
    body: bytes


LOGGED = "/log"
"""The suffix of a ping that is logged without changing the state of the check."""

SUFFIXES = {
    RunPhase.START: "/start",
    RunPhase.SUCCESS: "",
    RunPhase.FAILURE: "/fail",
    RunPhase.CANCELLATION: LOGGED,
}
"""As https://healthchecks.io/docs/http_api/ has them."""


def message(kind: ReceiverKind, notice: RunNotice | HealthNotice | TrialNotice) -> Message:
    """Return what is sent to a receiver."""
    match notice:
        case RunNotice():
            return _ping(notice)
        case TrialNotice() if kind is ReceiverKind.PING:
            return _text(LOGGED, f"{notice.cluster}: a test of the notifications")
        case TrialNotice():
            text = f"{notice.cluster}: a test of the notifications, sent by `backup-agent notify`"
            return _json(_content(kind, text, {"event": "test", "cluster": notice.cluster, "at": _time(notice.at)}))
        case HealthNotice():
            line = f"{notice.cluster}: {notice.text} (before: {notice.before})"
            return _json(_content(kind, line, _health(notice)))
        case _:
            assert_never(notice)


def _ping(notice: RunNotice) -> Message:
    why = f" ({notice.reason})" if notice.reason else ""
    return _text(SUFFIXES[notice.phase], f"{notice.request}: {notice.state}{why}")


def _text(suffix: str, text: str) -> Message:
    return Message(suffix, "text/plain; charset=utf-8", f"{text}\n".encode())


def _json(content: dict[str, Any]) -> Message:
    return Message("", "application/json", json.dumps(content, ensure_ascii=False).encode())


def _health(notice: HealthNotice) -> dict[str, Any]:
    return {
        "event": "health",
        "cluster": notice.cluster,
        "health": notice.health,
        "before": notice.before,
        "text": notice.text,
        "at": _time(notice.at),
    }


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _content(kind: ReceiverKind, line: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of a notice: a message of one line, or a document for programs."""
    match kind:
        case ReceiverKind.SLACK:
            return {"text": for_slack(line)}
        case ReceiverKind.TEAMS:
            return _card(line)
        case ReceiverKind.WEBHOOK | ReceiverKind.PING:
            return document
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
