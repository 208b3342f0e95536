"""The child process that sends one notification. It alone reads the URL of the receiver, and never tells it.

The URL is a secret: a client that has it can send in the agent's name. The HTTP client may put the URL into the texts
of its errors, so none of them is quoted: every error is a text of this module.
"""

import queue
import socket
import ssl
import threading
from http.client import HTTPException
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from backup_agent import __version__, processes
from backup_agent.core.reasons import PermanentError
from backup_agent.core.requests.events import NotificationEnded
from backup_agent.core.requests.notices import HealthNotice, Message, ReceiverKind, RunNotice, TrialNotice, message
from backup_agent.core.requests.tasks import NotifyTask
from backup_agent.jobs.event_writer import EventWriter, begin
from backup_agent.settings.credentials import secret
from backup_agent.settings.model import Settings
from backup_agent.settings.notify import Receiver

SECONDS = 10.0
"""Longest time from the look-up of the host to the answer."""

LARGEST_ANSWER = 1024
"""Bytes of an answer's body that are read."""

REFUSED = (b"OK (not found)", b"OK (rate limited)")
"""Answers of healthchecks.io that have the status 200 although the ping was not taken."""

REDIRECTS = range(300, 400)


class NotSent(NamedTuple):
    """Why a notification was not sent, and what to do."""

    error: str
    hint: str | None = None


class _NoRedirect(HTTPRedirectHandler):
    """Refuse redirects: the body and the path would go to a host that the settings do not name."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Return nothing, which makes the answer an HTTPError."""


def notify(task: NotifyTask, settings: Settings, writer: EventWriter, seconds: float = SECONDS) -> None:
    """Send the notification and tell how it ended. `seconds` is the longest time of the request."""
    fault = send(task.receiver, settings.notify[task.receiver], task.notice, seconds)
    writer.tell(NotificationEnded() if fault is None else NotificationEnded(error=fault.error, hint=fault.hint))


def send(
    name: str, receiver: Receiver, notice: RunNotice | HealthNotice | TrialNotice, seconds: float = SECONDS
) -> NotSent | None:
    """Send one notice to the receiver `name`. Return why it was not sent, or None. `seconds` limits the request."""
    url = _url(name, receiver)
    if isinstance(url, NotSent):
        return url
    try:
        opener = _opener(receiver)
    except OSError as error:
        text = f"notify.{name}.ca_file: {receiver.ca_file}: {_of_file(error)}"
        return NotSent(text, "mount the CA certificates there, readable for the agent's user")
    return _in_time(opener, _request(url, message(receiver.kind, notice)), receiver.kind, seconds)


def _url(name: str, receiver: Receiver) -> SplitResult | NotSent:
    """Read the URL. A fault names the setting and its file, and nothing of the content."""
    key = f"notify.{name}.url_file"
    try:
        text = secret(receiver.url_file, key).strip()
        url = urlsplit(text)
        usable = url.scheme in {"http", "https"} and bool(url.hostname) and "@" not in url.netloc and url.port != 0
    except PermanentError as error:
        return NotSent(error.failure.error, "mount the secret there, readable for the agent's user; it is one line")
    except ValueError:
        usable = False
    if usable and text.isascii() and text.isprintable() and " " not in text:
        return url
    hint = "one line with https:// or http://, a host and a path, without name and password before the host"
    return NotSent(f"{key}: {receiver.url_file}: not a URL to send to", hint)


def _opener(receiver: Receiver) -> OpenerDirector:
    """Return a client that verifies certificates and host names, and uses the proxies of the environment."""
    context = ssl.create_default_context(cafile=receiver.ca_file)
    return build_opener(_NoRedirect, HTTPSHandler(context=context))


def _request(url: SplitResult, sent: Message) -> Request:
    path = url.path.rstrip("/") + sent.suffix if sent.suffix else url.path
    return Request(  # noqa: S310  the scheme was checked
        urlunsplit(url._replace(path=path, fragment="")),
        data=sent.body,
        headers={"Content-Type": sent.content_type, "User-Agent": f"neo4j-backup-agent/{__version__}"},
    )


def _in_time(opener: OpenerDirector, request: Request, kind: ReceiverKind, seconds: float) -> NotSent | None:
    """Send the request in a thread: neither the look-up of a name nor a slow answer has a time limit of its own."""
    ended: queue.SimpleQueue[NotSent | None] = queue.SimpleQueue()
    threading.Thread(target=lambda: ended.put(_post(opener, request, kind, seconds)), daemon=True).start()
    try:
        return ended.get(timeout=seconds)
    except queue.Empty:
        return _late(seconds)


def _post(opener: OpenerDirector, request: Request, kind: ReceiverKind, seconds: float) -> NotSent | None:
    try:
        with opener.open(request, timeout=seconds) as answer:
            body: bytes = answer.read(LARGEST_ANSWER) if kind is ReceiverKind.PING else b""
    except HTTPError as error:
        error.close()
        return _refused(error.code)
    except (OSError, HTTPException, ValueError) as error:
        return _fault(error.reason if isinstance(error, URLError) else error, seconds)
    if kind is ReceiverKind.PING and body.startswith(REFUSED):
        return NotSent(
            "the receiver did not take the ping, although it answered HTTP 200", "compare the URL with the check's"
        )
    return None


def _late(seconds: float) -> NotSent:
    return NotSent(f"no answer within {seconds:.0f} s")


def _refused(code: int) -> NotSent:
    if code in REDIRECTS:
        return NotSent(
            f"the receiver redirects (HTTP {code}), which is not followed", "write the final URL into the file"
        )
    return NotSent(f"the receiver answered HTTP {code}")


def _fault(error: object, seconds: float) -> NotSent:
    """Return the fault for an error of the client. The text of the error is not used, except that of its errno."""
    match error:
        case ssl.SSLCertVerificationError():
            return NotSent(
                "the receiver's certificate is not trusted, or is not that of its host",
                "set ca_file if its CA is not public",
            )
        case ssl.SSLError():
            return NotSent("no TLS connection with the receiver")
        case TimeoutError():
            return _late(seconds)
        case socket.gaierror():
            return NotSent("the receiver's host does not resolve")
        case OSError(errno=int(), strerror=str() as text):
            return NotSent(f"no connection with the receiver: {text}")
        case _:
            return NotSent("the connection ended without an answer of HTTP, or a proxy refused it")


def _of_file(error: OSError) -> str:
    return "no certificates" if isinstance(error, ssl.SSLError) else (error.strerror or "cannot be read").lower()


def main() -> None:
    """Run as a child process: the task on stdin, events on stdout."""
    notify(*begin(NotifyTask))


if __name__ == "__main__":
    main()
    processes.leave()
