"""Debian's Chromium, controlled by the DevTools protocol over a pipe: what a page shows, requests and logs.

The protocol's messages end with a NUL byte. Commands go to descriptor 3 of the browser, answers and events come from 4.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.components.cache import MissingComponentError

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
)  # fmt: skip

SECONDS = 60.0
"""Seconds. Longest time of a command, or of the wait for an event."""

_PIPED = """import fcntl, os, sys
read, write = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(read, 3); os.dup2(write, 4)
os.execvp(sys.argv[3], sys.argv[3:])"""
"""A program that becomes the browser, with the pipes at descriptors 3 and 4."""


def chromium() -> str:
    """Return the path of the program. Raise MissingComponentError if it is not installed."""
    found = shutil.which("chromium")
    if found is None:
        raise MissingComponentError.package("chromium", "chromium")
    return found


class Chromium:
    """One browser. It ends with the tests, because its pipe is closed then. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._received = b""
        self._number = 0

    def __enter__(self) -> Self:
        program = chromium()
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        argv = (program, *FLAGS, f"--user-data-dir={self._folder}", "about:blank")
        self._process = subprocess.Popen(
            (sys.executable, "-I", "-S", "-c", _PIPED, str(commands), str(answers), *argv),
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._commands)
        os.close(self._answers)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def open(self, url: str, *, width: int, height: int = 900, scheme: str = "light") -> "Tab":
        """Open a page in a new tab of a given size, in light or dark colours, and wait until it is loaded."""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, target, session)
        for domain in ("Page", "Network", "Log", "Runtime"):
            tab.command(f"{domain}.enable")
        tab.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        tab.emulate(scheme)
        tab.command("Page.navigate", url=url)
        self.wait_for(lambda: any(one["method"] == "Page.loadEventFired" for one in tab.events))
        return tab

    def command(self, method: str, session: str | None = None, **params: Any) -> Any:
        """Send a command. Return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        os.write(self._commands, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        number, found = self._number, list[dict[str, Any]]()
        self.wait_for(lambda: bool(found), lambda one: found.append(one) if one.get("id") == number else None)
        if "error" in found[0]:
            raise RuntimeError(f"{method}: {found[0]['error']}")
        return found[0]["result"]

    def wait_for(self, condition: Any, answered: Any = lambda _: None) -> None:
        """Read messages until a condition is met. Events are given to their tabs, answers to `answered`."""
        ends = time.monotonic() + SECONDS
        while not condition():
            ready, _, _ = select.select([self._answers], [], [], max(0.0, ends - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser tells nothing")
            self._received += os.read(self._answers, 1 << 20)
            *messages, self._received = self._received.split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    answered(message)
                elif tab := Tab.all.get(message.get("sessionId", "")):
                    tab.events.append(message)


class Tab:
    """One tab, with all its events."""

    all: "dict[str, Tab]" = {}  # noqa: RUF012  every tab, by the session that events name

    def __init__(self, browser: Chromium, target: str, session: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._browser, self._target, self._session = browser, target, session
        Tab.all[session] = self

    def command(self, method: str, **params: Any) -> Any:
        """Send a command to the tab."""
        return self._browser.command(method, self._session, **params)

    def emulate(self, scheme: str, media: str = "") -> None:
        """Choose light or dark colours, and the medium, such as `print`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", media=media, features=features)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript. The page's Content-Security-Policy does not apply to it."""
        found = self.command("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.command(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode={"Tab": 9, "Enter": 13}[key],
                text="\r" if key == "Enter" and kind == "keyDown" else "",
            )  # fmt: skip

    @property
    def requests(self) -> list[str]:
        """The addresses of all requests."""
        return [one["params"]["request"]["url"] for one in self.events if one["method"] == "Network.requestWillBeSent"]

    @property
    def complaints(self) -> list[str]:
        """The messages in the console."""
        found = [one["params"]["entry"]["text"] for one in self.events if one["method"] == "Log.entryAdded"]
        methods = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return found + [json.dumps(one["params"]) for one in self.events if one["method"] in methods]

    def close(self) -> None:
        """Close the tab."""
        Tab.all.pop(self._session, None)
        with suppress(RuntimeError):
            self._browser.command("Target.closeTarget", targetId=self._target)
