"""Ten thousand requests at once. Most are invalid and many repeat an id, so few backups follow."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.agent.live import FINAL, Live

IDS = 20
"""Number of different ids among the valid requests."""

SOUND_EVERY = 10


def contents(count: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of files. Each tenth is a request for a missing database, with one of a few ids."""
    wrong = (b"{}}", b'{"typ":"FULL"}', b'{"path":"../x"}', b"", b'{"id":"again-0","type":"DIFF"}', b"\xff", b"[]")
    for number in range(count):
        content = wrong[number % len(wrong)]
        if number % SOUND_EVERY == 0:
            identity = number // SOUND_EVERY % IDS
            content = json.dumps({"id": f"again-{identity}", "database": f"none-{identity}"}).encode()
        yield f"flood-{number:05}.request", content


def drop(live: Live, count: int) -> None:
    """Drop all files as fast as possible."""
    for name, content in contents(count):
        (live.requests / name).write_bytes(content)


def undecided(live: Live, count: int) -> int:
    """Return the number of files without a final answer beside them."""
    answered = sum(1 for _ in live.requests.glob("flood-*.status.json"))
    return count - answered


def tally(live: Live, count: int) -> Counter[str]:
    """Return the number of answers in each final state, and of those that are not final (`open`)."""
    states: Counter[str] = Counter()
    for name, _ in contents(count):
        content: dict[str, Any] = json.loads(_beside(live.requests, name).read_text())
        states[content["state"] if content["state"] in FINAL else "open"] += 1
    return states


def faults(live: Live, count: int) -> list[str]:
    """Return a line for each request that was lost or answered twice, after all were answered."""
    sound = count // SOUND_EVERY
    wrong = [content for number, (_, content) in enumerate(contents(count)) if number % SOUND_EVERY]
    done = live.requests / ".spool" / "done"
    checks = {
        "answers": (tally(live, count), Counter(failed=sound, rejected=count - sound)),
        "rejected files kept": (sorted(kept(live)), sorted(wrong)),
        "requests": (sorted(path.stem for path in done.iterdir()), sorted(f"again-{n}" for n in range(IDS))),
        "left open": (live.open_entries(), []),
    }
    return [
        f"{name}: {_shown(found)}, not {_shown(wanted)}" for name, (found, wanted) in checks.items() if found != wanted
    ]


def kept(live: Live) -> list[bytes]:
    """Return the rejected files that the agent has kept."""
    return [path.read_bytes() for path in (live.requests / ".spool" / "rejected").iterdir()]


def _shown(what: object) -> str:
    return f"{len(what)} entries" if isinstance(what, list) and len(what) > IDS else repr(what)


def _beside(folder: Path, name: str) -> Path:
    return folder / name.replace(".request", ".status.json")
