"""Writing a request into the requests folder, and waiting for its answer."""

import json
import os
import pwd
import re
import shutil
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import click

from backup_agent import durable
from backup_agent.cli import answers, printing
from backup_agent.cli.agent_id import owner_id
from backup_agent.core.artifacts.names import command_id
from backup_agent.core.escaping import shell_word
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.requests.answers import LARGEST, Answer, State
from backup_agent.core.requests.request import TRACEPARENT, Action, InvalidRequestError, Request, parse
from backup_agent.settings.model import Settings
from backup_agent.supervisor.requests.presence import Presence, owner_of_agent, presence

EXIT = {
    State.SUCCEEDED: 0,
    State.SUCCEEDED_WITH_WARNINGS: 3,
    State.FAILED: 1,
    State.CANCELLED: 1,
    State.REJECTED: 4,
}
POLL_SECONDS = 0.2
DROPPED_SECONDS = 1.0
"""After this time without a terminal, the command says that the request waits to be taken."""

TAKEN_SECONDS = 10.0
"""If a request is not taken within this time, probably no agent is running: an agent takes it within a second."""

OPTIONS = {
    "path": "--set",
    "databases": "--database",
    "labels": "--label",
    "taken_from": "--from",
    "taken_to": "--to",
    "artifact": "ARTIFACT",
}
"""Field of a request -> the option or argument that sets it, if its name differs."""

_FIELD = re.compile(r"`(\w+)`(?:: true)?")
"""A field in the text of a fault, with its value if this is `true`."""


def requester() -> str:
    """Return $USER. If it is not set, as in a pod, return `user@host`."""
    if user := os.environ.get("USER"):
        return user
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = f"uid {number}"
    return f"{name}@{os.uname().nodename}"


def insist_on_an_agent(settings: Settings, command: str) -> None:
    """Raise PermanentError if no agent takes requests: an agent that starts later must not find a request to delete."""
    if presence(settings.requests.folder) is Presence.ABSENT:
        raise PermanentError(
            Reason.NO_AGENT,
            f"{settings.requests.folder}: no agent takes requests from this folder; `{command}` was not requested",
            "start the agent, and ask again; or run this where the agent runs, or set `requests.folder`",
        )


def drop(settings: Settings, fields: Mapping[str, object]) -> "Dropped":
    """Write a request into the requests folder. If interrupted, remove the file again.

    Raise click.UsageError with every fault of the request, OSError if the folder cannot be written to.
    """
    name = command_id(datetime.now(UTC), os.getpid())
    given = {key: value for key, value in fields.items() if value not in (None, False)}
    if TRACEPARENT.fullmatch(trace := os.environ.get("TRACEPARENT", "")):
        given["traceparent"] = trace
    content = json.dumps(given).encode()
    try:
        parse(content, str(settings.storage.root))
    except InvalidRequestError as error:
        raise click.UsageError("\n".join(_by_option(fault) for fault in error.faults)) from None
    _insist_on_own_agent(settings)
    cancel = given.get("action") == Action.CANCEL.value
    dropped = Dropped(settings, name, name if cancel else str(given.get("id", name)))
    try:
        dropped.write(content)
    except KeyboardInterrupt:
        dropped.withdraw()
        raise
    return dropped


def _insist_on_own_agent(settings: Settings) -> None:
    """Raise PermanentError if the agent that takes requests from the folder owns another volume than these settings."""
    folder, root = settings.requests.folder, settings.storage.root
    ours, other = owner_id(root), owner_of_agent(folder)
    if ours is not None and other not in (None, ours) and presence(folder) is Presence.PRESENT:
        raise PermanentError(
            Reason.NO_AGENT,
            f"{folder}: the agent that takes requests from this folder is {other}, and {root} belongs to {ours}; "
            "nothing was requested",
            "use the settings file of that agent (--config), or give each agent a `requests.folder` of its own",
        )


class Dropped:
    """A request file that this command has written. Its name is unique, so no other file is replaced."""

    def __init__(self, settings: Settings, name: str, identity: str) -> None:
        """`name` is the file name without suffix. `identity` is the request's id: `name` unless the request has one."""
        self.folder = settings.requests.folder
        self.identity = identity
        self.request = settings.requests.folder / f"{name}.request"
        self.answer = settings.requests.folder / f"{name}.status.json"
        self.look = f"its answer: backup-agent show {shell_word(identity)}"
        self.end = f"; backup-agent cancel {shell_word(identity)} ends it"

    def write(self, content: bytes) -> None:
        """Write the file. Raise OSError, with a hint, if the folder cannot be written to."""
        try:
            durable.write(self.request, content + b"\n")
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}: nothing was requested\n"
                "HINT: run this where the agent runs, as a user who may write there, or set `requests.folder`",
                str(self.request.parent),
            ) from None

    def withdraw(self) -> bool:
        """Remove the file. Return False if an agent has already taken the request: it renames the file."""
        try:
            self.request.unlink()
        except OSError:
            return False
        return True

    def read(self) -> Answer | None:
        """Return the present answer, or None if the agent has not taken the request yet."""
        try:
            return Answer.from_json(durable.read(self.answer, LARGEST))
        except FileNotFoundError:
            return None


def _by_option(fault: str) -> str:
    """Return a fault of a request with each of its fields replaced by the option that sets the field."""
    field, colon, text = fault.partition(":")
    named = f"{_option(field)}{colon}{text}" if colon and field in Request.model_fields else fault
    return _FIELD.sub(lambda found: _option(found[1]) if found[1] in Request.model_fields else found[0], named)


def _option(field: str) -> str:
    return OPTIONS.get(field) or f"--{field.replace('_', '-')}"


def wait_for(dropped: Dropped, timeout: float | None, *, as_json: bool, withdraws: bool, local: bool = False) -> int:
    """Show progress until the answer is final or `timeout` seconds have passed. Show the answer, return the exit code.

    If `withdraws` is true, an interrupt removes the request file, unless an agent has taken it. If `local` is true, the
    wait ends when every artifact is recorded on the volume.
    """
    shown = _Shown(live=not as_json and sys.stderr.isatty(), quiet=as_json)
    try:
        if presence(dropped.folder) is Presence.ABSENT:
            shown.say(f"no agent takes requests from {dropped.folder} yet: the request waits there for an agent")
        answer = _follow(dropped, timeout, shown, local=local)
    except (KeyboardInterrupt, BrokenPipeError):
        if withdraws and dropped.withdraw():
            shown.say("withdrawn: no agent had taken the request, and nothing was done")
        else:
            shown.say(f"no longer waiting, but the request goes on{dropped.end}", dropped.look)
        raise
    shown.end()
    if as_json:
        printing.as_json(answer.model_dump(mode="json", by_alias=True, exclude_none=True) if answer else None)
    ended = _ended(answer, local=local) if answer else None
    if answer is None or ended is None:
        where = answers.stage(answer) if answer else "the agent has not taken it"
        ended_by = f"no answer after {timeout:g} s ({where}), but the request goes on{dropped.end}"
        printing.prose((ended_by, dropped.look), err=True)
        return 1
    if not as_json:
        printing.prose(answers.lines(answer))
    if not answer.state.final:
        shown.say("every artifact is recorded on the volume; the agent goes on with the copies", dropped.look)
    return EXIT[ended.state]


def _ended(answer: Answer, *, local: bool) -> Answer | None:
    """Return the answer if it is final, or, if `local`, as it would end without its copies; None before that."""
    return answer.recorded(datetime.now(UTC)) if local else answer if answer.state.final else None


def _follow(dropped: Dropped, timeout: float | None, shown: "_Shown", *, local: bool) -> Answer | None:
    """Return the answer once the wait has ended, or after `timeout` seconds; None if no agent has taken the request."""
    begun = time.monotonic()
    while True:
        answer = dropped.read()
        waited = time.monotonic() - begun
        shown.show(answer, waited)
        if (answer and _ended(answer, local=local)) or (timeout is not None and waited >= timeout):
            return answer
        time.sleep(POLL_SECONDS)


class _Shown:
    """Progress on stderr: on a terminal one line that is overwritten, otherwise one line if queued, one if running."""

    def __init__(self, *, live: bool, quiet: bool) -> None:
        self._live = live
        self._quiet = quiet
        self._last = ""
        self._state: State | bool | None = None

    def show(self, answer: Answer | None, waited: float) -> None:
        """Show the state of the request if it has changed. `waited` is in seconds."""
        if not self._live and not self._has_news(answer, waited):
            return
        if answer is not None:
            line = f"{answer.id}: {answers.stage(answer)}"
        elif waited < TAKEN_SECONDS:
            line = "dropped"
        else:
            line = "dropped, and not taken: is `backup-agent run` running here? See `backup-agent status`"
        if self._live:
            line = "  ".join(filter(None, (line, answers.progress(answer) if answer else "", f"{waited:.0f} s")))
        if self._quiet or line == self._last or (answer and answer.state.final):
            return
        self._last = line
        if self._live:
            printing.changing_line(line, shutil.get_terminal_size().columns)
        else:
            printing.line(line, err=True)

    def _has_news(self, answer: Answer | None, waited: float) -> bool:
        """Return whether the state has changed. A request that is taken at once was never only dropped."""
        state = answer.state if answer is not None else waited >= TAKEN_SECONDS
        if (answer is None and waited < min(DROPPED_SECONDS, TAKEN_SECONDS)) or state == self._state:
            return False
        self._state = state
        return True

    def say(self, *texts: str) -> None:
        """Print lines to stderr, even if `quiet` is true. Progress does not overwrite them."""
        self.end()
        printing.prose(texts, err=True)

    def end(self) -> None:
        """Clear the line of progress."""
        if self._live:
            printing.changing_line("", 1)
