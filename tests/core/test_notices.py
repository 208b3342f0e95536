"""The content of notifications, in the form of each kind of receiver."""

import json
from datetime import UTC, datetime

import pytest

from backup_agent.core.requests.notices import HealthNotice, ReceiverKind, RunNotice, RunPhase, TrialNotice, message

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
LATE = HealthNotice(cluster="demo", health="DEGRADED", before="OK", text="DEGRADED: 1 late", at=NOW)
TRIAL = TrialNotice(cluster="demo", at=NOW)
LINE = "demo: DEGRADED: 1 late (before: OK)"
TEST = "demo: a test of the notifications, sent by `backup-agent notify`"


@pytest.mark.parametrize(
    ("phase", "reason", "suffix", "body"),
    [
        (RunPhase.START, None, "/start", b"one: s\n"),
        (RunPhase.SUCCESS, None, "", b"one: s\n"),
        (RunPhase.FAILURE, "disk_full", "/fail", b"one: s (disk_full)\n"),
        (RunPhase.CANCELLATION, None, "/log", b"one: s\n"),
    ],
)
def test_a_ping_says_by_its_path_what_happened(phase: RunPhase, reason: str | None, suffix: str, body: bytes) -> None:
    sent = message(ReceiverKind.PING, RunNotice(phase=phase, request="one", state="s", reason=reason))

    assert (sent.suffix, sent.content_type, sent.body) == (suffix, "text/plain; charset=utf-8", body)


def test_a_test_of_a_ping_receiver_changes_the_state_of_no_check() -> None:
    sent = message(ReceiverKind.PING, TRIAL)

    assert (sent.suffix, sent.body) == ("/log", b"demo: a test of the notifications\n")


@pytest.mark.parametrize(("notice", "line"), [(LATE, LINE), (TRIAL, TEST)], ids=["health", "test"])
def test_slack_and_teams_get_one_line_in_their_own_form(notice: HealthNotice | TrialNotice, line: str) -> None:
    slack, teams = (json.loads(message(kind, notice).body) for kind in (ReceiverKind.SLACK, ReceiverKind.TEAMS))

    assert slack == {"text": line}
    assert teams["attachments"][0]["content"]["body"] == [{"type": "TextBlock", "text": line, "wrap": True}]


def test_a_webhook_gets_a_document() -> None:
    at = "2026-11-23T02:00:00Z"

    assert json.loads(message(ReceiverKind.WEBHOOK, TRIAL).body) == {"event": "test", "cluster": "demo", "at": at}
    assert json.loads(message(ReceiverKind.WEBHOOK, LATE).body) == {
        "event": "health", "cluster": "demo", "health": "DEGRADED", "before": "OK", "text": "DEGRADED: 1 late", "at": at
    }  # fmt: skip
