"""Builder: a requests folder, with the spool of the agent that takes requests from it."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import Answer, State
from tests.builders import TAKEN, a_spool

PLACES = ("incoming", "open", "done", "rejected")
"""Folders of the spool."""


class RequestsFolder:
    """A requests folder with its spool, and the actions of users and of the agent in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.restart()

    def restart(self) -> None:
        """Replace the agent by a new one."""
        self.spool = a_spool(self.path)

    def drop(self, name: str = "x.request", content: bytes | None = None, **request: Any) -> Path:
        """Drop a file with a request of these fields, or with any other content."""
        path = self.path / name
        path.write_bytes(json.dumps(request).encode() if content is None else content)
        return path

    def take(self, name: str = "x.request", now: datetime = TAKEN) -> Answer:
        """Let the agent take a dropped file. Return the answer."""
        taken = self.spool.take(name, now)
        assert taken is not None
        return taken.answer

    def ask(
        self, name: str = "x.request", content: bytes | None = None, *, now: datetime = TAKEN, **request: Any
    ) -> Answer:
        """Drop a file, and let the agent take it."""
        self.drop(name, content, **request)
        return self.take(name, now)

    def finish(self, answer: Answer, state: State = State.SUCCEEDED, now: datetime = TAKEN) -> Answer:
        """Let the agent start and finish a request."""
        failure = Failure(Reason.STALLED, "x") if state is State.FAILED else None
        running = answer.becomes(State.RUNNING, now)
        self.spool.save(running)
        final = running.becomes(state, now, failure)
        self.spool.save(final)
        return final

    def read(self, name: str) -> dict[str, Any]:
        """Return the answer in a file."""
        content: dict[str, Any] = json.loads((self.path / name).read_text())
        return content

    @property
    def word(self) -> str | None:
        """The content of `backup.status`, or None."""
        path = self.path / "backup.status"
        return path.read_text().strip() if path.exists() else None

    def inside(self, place: str) -> list[str]:
        """Return the names in a folder of the spool."""
        return sorted(path.name for path in (self.path / ".spool" / place).iterdir())

    def files(self) -> list[str]:
        """Return the paths of all files except the lock and the reserve."""
        folders = (self.path, self.path / "answers", *(self.path / ".spool" / place for place in PLACES))
        return sorted(
            str(path.relative_to(self.path)) for folder in folders for path in folder.iterdir() if not path.is_dir()
        )
