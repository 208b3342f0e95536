"""The log: structlog, on stderr; console on a terminal, JSON otherwise.

Events are short, lower case and constant; everything else is a field. Nothing secret is ever a field: settings hold
paths to secrets, and neo4j-admin never gets them.
"""

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog


def configure(style: str, level: str, **bound: str) -> None:
    """Set the log up. `style` is auto, json or console; `bound` stands in every line."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if console else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level.upper()),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Stderr())),
        cache_logger_on_first_use=False,
    )
    # Libraries (APScheduler, watchdog) speak by the standard library: their warnings go the same way.
    logging.basicConfig(level=logging.WARNING, handlers=[_ToStructlog()], force=True)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**bound)


class _Stderr:
    """Standard error, where what cannot be written is lost: a full disk, or a reader that has gone, ends no backup."""

    def write(self, text: str) -> None:
        """Write what can be written."""
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Hand it on, where it is taken."""
        with suppress(OSError):
            sys.stderr.flush()


class _ToStructlog(logging.Handler):
    """Hands on what libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record as an event of its library."""
        log = structlog.get_logger()
        log.log(record.levelno, "library", library=record.name, text=record.getMessage())
