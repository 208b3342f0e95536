"""Decide what may be quoted of a library's error: the kind of error, and text without any of the library's input.

A parser, a driver or an HTTP client may put its input into the text of an exception: a line of a file, a header with a
token, a password. So the text goes into failures, answers and the log only if the kind of error is listed as harmless.
"""

import json
import re
import sys
import threading
import traceback
from collections.abc import Iterator

from pydantic import ValidationError

from backup_agent.core.artifacts.records import TooManyValuesError
from backup_agent.core.escaping import printable_lines
from backup_agent.core.json_reader import NestingError, SurrogateError
from backup_agent.core.reasons import BackupError

MANY = 100
"""If a document has more faults, they are only counted, since the description of each fault takes memory."""

_ABOUT_CODE = (
    TypeError,
    AttributeError,
    NameError,
    IndexError,
    AssertionError,
    ImportError,
    NotImplementedError,
    ArithmeticError,
    MemoryError,
    RecursionError,
)
"""Errors whose texts contain only types and names of the program."""

_HARMLESS = frozenset(
    {
        "missing", "extra_forbidden", "value_error", "json_invalid", "json_type", "enum", "literal_error",
        "string_type", "string_unicode", "string_too_short", "string_too_long", "string_pattern_mismatch",
        "int_type", "int_parsing", "int_from_float", "float_type", "float_parsing", "finite_number",
        "bool_type", "bool_parsing", "dict_type", "list_type", "tuple_type", "model_type", "too_short", "too_long",
        "none_required", "datetime_type", "datetime_parsing", "datetime_object_invalid", "timezone_aware", "uuid_type",
        "greater_than", "greater_than_equal", "less_than", "less_than_equal",
    }
)  # fmt: skip
"""Kinds of pydantic's errors whose message says what is expected and not what was found. The text of `value_error` is
the agent's own."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


def shown(error: BaseException) -> str:
    """Return the text that may be quoted of an error, as one line.

    >>> shown(ValueError("Invalid header value b'TOKEN'"))
    'ValueError'
    >>> shown(FileNotFoundError(2, "No such file or directory", "/a"))
    'No such file or directory'
    """
    if isinstance(error, BackupError):
        return " ".join(error.failure.error.split())
    if isinstance(error, ValidationError):
        return _of_document(error)
    if isinstance(error, TooManyValuesError | NestingError | SurrogateError):
        return str(error)
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: line {error.lineno}, column {error.colno}"
    if isinstance(error, UnicodeError):
        return "not text in UTF-8"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return error.strerror
    if isinstance(error, _ABOUT_CODE):
        return " ".join(f"{type(error).__name__}: {error}".split())
    return type(error).__name__


def traced(error: BaseException) -> str:
    """Return the tracebacks of an error and of its causes, each with the text that may be quoted."""
    return "\nled to\n".join(
        "".join(traceback.format_tb(one.__traceback__)) + _with_kind(one) for one in reversed(tuple(_chain(error)))
    )


def _with_kind(error: BaseException) -> str:
    kind, text = type(error).__qualname__, shown(error)
    return text if text.startswith(kind) else f"{kind}: {text}"


def guard_stderr() -> None:
    """Make this process and its threads write uncaught errors to stderr in the form of `traced`."""

    def write(error: BaseException | None) -> None:
        if error is not None:
            sys.stderr.write(printable_lines(traced(error)) + "\n")

    sys.excepthook = lambda _kind, error, _trace: write(error)
    threading.excepthook = lambda failed: write(failed.exc_value)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _of_document(error: ValidationError) -> str:
    count = error.error_count()
    if count > MANY:
        return f"{count} faults"
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(
        str(part) if isinstance(part, int) or _NAME.fullmatch(str(part)) else "(not shown)" for part in first["loc"]
    )
    text = first["msg"] if first["type"] in _HARMLESS else first["type"]
    return f"{where}: {text}" if where else text
