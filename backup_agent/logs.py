"""The log is written by structlog to stderr: for the console on a terminal, as JSON otherwise.

Events are short, lower case and constant; everything else is a field. No field is ever secret: settings contain only
paths of secrets, and neo4j-admin gets no secrets. Names, reasons and program output come from outside: in both formats
their control characters are escaped, and no value can begin a line of its own.
"""

import json
import logging
import os
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog

from backup_agent import quoting
from backup_agent.core.escaping import printable, printable_lines


def configure(style: str, level: str, **bound: str) -> None:
    """Set up the log. `style` is auto, json or console; the fields `bound` are in every line."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer(serializer=_ascii_json)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _known,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(_traceback),
            *([_as_printable] if console else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level.upper()),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Stderr())),
        cache_logger_on_first_use=False,
    )
    # Libraries (APScheduler, watchdog) log through the standard library: their warnings go to the same log.
    logging.basicConfig(level=logging.WARNING, handlers=[_ToStructlog()], force=True)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**bound)


def end() -> None:
    """Discard output that could not be written. Otherwise Python would try again at exit, and exit with 120."""
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _known(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Leave out fields without a value: `error=None` looks like an error."""
    return {key: value for key, value in event.items() if value is not None}


def _as_printable(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape characters that are not printable in every field, except the line breaks of a traceback."""
    return {
        printable(key): printable_lines(value) if key == "exception" else _shown(value) for key, value in event.items()
    }


def _shown(value: object) -> object:
    """Return a value for the console: escaped text, an unchanged number, bool or None, or the escaped repr."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return printable(value) if isinstance(value, str) else _Repr(printable(repr(value)))


class _Repr:
    """A value whose repr is a given text without quotes, so that a container does not look like a string."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _ascii_json(event: Any, **options: Any) -> str:  # noqa: ANN401  json.dumps
    """Return JSON in ASCII. json.dumps escapes all characters that are not printable except DEL."""
    return json.dumps(event, **options).replace("\x7f", "\\u007f")


def _traceback(exc_info: structlog.typing.ExcInfo) -> str:
    return quoting.traced(exc_info[1])


class _Stderr:
    """Standard error. Write errors are ignored, so that a full disk or a closed pipe does not end a backup."""

    def write(self, text: str) -> None:
        """Write a text; ignore errors."""
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Flush; ignore errors."""
        with suppress(OSError):
            sys.stderr.flush()


class _ToStructlog(logging.Handler):
    """Passes the log records of libraries to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record as an event of its library."""
        log = structlog.get_logger()
        log.log(record.levelno, "library", library=record.name, text=record.getMessage())
