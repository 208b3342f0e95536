"""`notify` sends each receiver a test, which changes nothing there."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Place
from tests.receivers import SECRET, served


def receivers(place: Place, folder: Path, **urls: tuple[str, str]) -> None:
    """Write the URLs of receivers, given as kind and URL, and the settings that name them."""
    for name, (_, url) in urls.items():
        (folder / name).write_text(f"{url}\n")
    place.settings["notify"] = {
        name: {"kind": kind, "url_file": str(folder / name)} for name, (kind, _) in urls.items()
    }


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("ping", f"/{SECRET}/log", b"demo: a test of the notifications\n"),
        ("webhook", f"/{SECRET}", b'{"event": "test", "cluster": "demo", "at": "'),
        ("slack", f"/{SECRET}", b'{"text": "demo: a test of the notifications, sent by `backup-agent notify`"}'),
        ("teams", f"/{SECRET}", b'{"type": "message", "attachments": '),
    ],
)
def test_a_receiver_gets_a_test_in_its_own_form(
    place: Place, tmp_path: Path, kind: str, path: str, expected: bytes
) -> None:
    with served() as receiver:
        receivers(place, tmp_path, team=(kind, receiver.url))
        result = place.run("notify")

    [(asked, _, body)] = receiver.got
    assert (result.code, result.out, asked) == (0, "team: sent\n", path)
    assert body.startswith(expected)
    assert b"health" not in body


def test_each_receiver_that_did_not_take_the_test_is_named_with_the_reason(place: Place, tmp_path: Path) -> None:
    with served() as good, served(status=404) as bad:
        receivers(place, tmp_path, good=("ping", good.url), bad=("webhook", bad.url))
        result, with_json = place.run("notify"), place.run("notify", "--json")

    assert result.code == with_json.code == 1
    assert result.out == "bad: not sent: the receiver answered HTTP 404\ngood: sent\n"
    assert with_json.json["receivers"][0] == {
        "receiver": "bad", "kind": "webhook", "sent": False, "error": "the receiver answered HTTP 404", "hint": None
    }  # fmt: skip
    assert SECRET not in result.out + result.err + with_json.out


def test_only_the_named_receivers_get_a_test(place: Place, tmp_path: Path) -> None:
    with served() as one, served() as other:
        receivers(place, tmp_path, one=("ping", one.url), other=("ping", other.url))

        assert place.run("notify", "one").out == "one: sent\n"
        assert (len(one.got), len(other.got)) == (1, 0)
        assert json.loads(place.run("notify", "ane", "--json").err) == {
            "error": "no receiver ane; did you mean one?", "reason": "not_found", "hint": "there are one, other"
        }  # fmt: skip


def test_without_receivers_the_settings_to_write_are_named(place: Place) -> None:
    result = place.run("notify")

    assert (result.code, result.out) == (1, "")
    assert result.err == "backup-agent: there is no receiver\nHINT: add one to `notify` in the settings\n"
