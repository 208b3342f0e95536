"""Runs children of the agent that die at a given step. They are forks of this program, which has imported the modules.

A fork is ten times as fast as a new interpreter. One line of JSON on stdin is an order, one on stdout its result:

    call    "module:function", the arguments of a command line as a list, "destination" for one task of the child of a
            destination, "hold" or "release" of `task["artifact"]`, or "adopt" for the artifacts on the volume, at the
            time `task["now"]`
    task    the line on the child's stdin
    environ environment variables
    below   the folder in which changes are counted, in addition to requests to a store
    at      number of the change before which the child dies, from 0; null: it lives
    kinds   true: only the first change of each kind is counted

    died, code, told (the output)
"""

import functools
import importlib
import json
import os
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from datetime import datetime
from typing import Any

from pydantic import BaseModel, TypeAdapter

from backup_agent.stores.s3 import descriptions

CHANGES = {"os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}
"""Audit events of CPython that count as changes, in addition to files opened for writing and changing requests."""

REQUESTS = (b"PUT ", b"POST ", b"DELETE ")

NUMBERS = str.maketrans("", "", "0123456789abcdef-")
"""Characters that differ between two changes of one kind: times, process ids, counters and random names."""

PRELOADED = (
    "jobs.prune",
    "jobs.copy",
    "jobs.destination",
    "jobs.survey",
    "jobs.verify",
    "jobs.drill",
    "catalog.adopt",
    "cli.main",
    "cli.catalog",
    "stores.s3",
)


def main() -> None:
    for name in PRELOADED:
        importlib.import_module(f"backup_agent.{name}")
    read_descriptions()
    build_models()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run(json.loads(line))) + "\n")
        sys.stdout.flush()


def read_descriptions() -> None:
    """Read botocore's descriptions of S3, and import what its first client imports, once for all forks."""
    read = functools.cache(descriptions._PlainFiles().load_file)

    def load_file(_: object, file_path: str) -> Any:
        return read(file_path)

    descriptions._PlainFiles.load_file = load_file  # type: ignore[assignment,method-assign]  # a function in place of the method
    descriptions.new_session().create_client("s3", region_name="us-east-1").close()


def build_models(base: type[BaseModel] = BaseModel) -> None:
    """Build the validators of all models once for all forks."""
    for model in base.__subclasses__():
        model.model_rebuild()
        build_models(model)


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Fork a child that carries out an order. Return how it ended."""
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as output:
        pid = os.fork()
        if pid == 0:
            os.close(writing)
            be(order, reading, output.fileno())
        os.close(reading)
        with suppress(BrokenPipeError):  # a command reads no task, and may have ended
            os.write(writing, json.dumps(order.get("task")).encode() + b"\n")
        _, status = os.waitpid(pid, 0)
        os.close(writing)
        output.seek(0)
        told = output.read().decode()
    died = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return {"died": died, "code": os.waitstatus_to_exitcode(status), "told": told}


def be(order: dict[str, Any], stdin: int, stdout: int) -> None:
    """Run the order in the child."""
    os.setsid()
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    os.dup2(stdout, 2)
    sys.stdin = os.fdopen(0, "r", closefd=False)
    os.environ.update(order.get("environ", {}))
    if order["at"] is not None:
        sys.addaudithook(Death(order["at"], order["below"], kinds=order["kinds"]))
    code = 1
    try:
        call = order["call"]
        if call in ("hold", "release"):
            code = mark(call, order["task"])
        elif call == "adopt":
            code = adopt(order["task"])
        elif call == "destination":
            code = work(order["task"])
        elif isinstance(call, list):
            code = importlib.import_module("backup_agent.cli.main").code(call)
        else:
            module, _, function = call.partition(":")
            getattr(importlib.import_module(module), function)()
            code = 0
    except BaseException as error:  # noqa: BLE001  a fork must not go on as its parent
        sys.stdout.write(f"{type(error).__name__}: {error}\n")
    sys.stdout.flush()
    os._exit(code)


def work(task: dict[str, Any]) -> int:
    """Carry out a task as the child of a destination does, which then ends."""
    tasks = importlib.import_module("backup_agent.core.requests.tasks")
    settings = importlib.import_module("backup_agent.settings.model").Settings.model_validate(task["settings"])
    writer = importlib.import_module("backup_agent.jobs.event_writer").EventWriter()
    kept = importlib.import_module("backup_agent.jobs.destination").KeptPlace()
    kept.perform(TypeAdapter(tasks.PlaceTask).validate_python(task), settings, writer, threading.Event())
    kept.leave()
    return 0


def mark(call: str, task: dict[str, Any]) -> int:
    """Hold or release an artifact, as the supervisor does."""
    holds = importlib.import_module("backup_agent.catalog.holds")
    settings = importlib.import_module("backup_agent.settings.model").Settings.model_validate(task["settings"])
    if call == "release":
        holds.release(settings, task["artifact"])
        return 0
    hold = importlib.import_module("backup_agent.core.artifacts.marks").Hold
    wanted = hold(key=task["artifact"], since="2026-11-23T12:00:00Z", reason="audit", request="h")
    holds.hold(settings, wanted)
    return 0


def adopt(task: dict[str, Any]) -> int:
    """Record the artifacts on the volume that have no record."""
    settings = importlib.import_module("backup_agent.settings.model").Settings.model_validate(task["settings"])
    adopting = importlib.import_module("backup_agent.catalog.adopt").Adopting
    list(adopting(settings, datetime.fromisoformat(task["now"]), None).run())
    return 0


class Death:
    """An audit hook that kills the process before the n-th change."""

    def __init__(self, at: int, below: str, *, kinds: bool) -> None:
        self._left = at
        self._below = below
        self._kinds: set[str] | None = set() if kinds else None

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        sent = bytes(args[1]).partition(b" HTTP")[0] if event == "http.client.send" else b""
        changes = event in CHANGES or sent.startswith(REQUESTS)
        if (changes or (event == "open" and self._writes(*args))) and self._is_new(f"{event} {sent or args[:2]!r}"):
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self._left -= 1

    def _is_new(self, change: str) -> bool:
        if self._kinds is None:
            return True
        kind = change.translate(NUMBERS)
        known = kind in self._kinds
        self._kinds.add(kind)
        return not known

    def _writes(self, path: object, _mode: object, flags: object) -> bool:
        # Stores open names relative to an open folder, so relative names count as well.
        wanted = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        return bool(wanted) and isinstance(path, str) and (path.startswith(self._below) or not path.startswith("/"))


if __name__ == "__main__":
    main()
