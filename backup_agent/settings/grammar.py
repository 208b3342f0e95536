"""The syntax of single values: `15m`, `50MiB`, `/backups`, `host:6362`.

Strict on purpose: one number and one unit. The meaning of `1h30` or `50M` would be a guess, and a wrong guess about a
deadline would be noticed too late. Each refusal is a ValueError that says what is expected; `faults` adds what was
found.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from backup_agent.core import durations
from backup_agent.core.artifacts.names import BEFORE_RESTORE, SetName, database_glob, set_name_or_none
from backup_agent.core.protection.expected import REHEARSAL_GLOB
from backup_agent.core.requests.cron import Cron
from backup_agent.core.time_zones import zone
from backup_agent.settings.addresses import split_address

BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}

BOLT_SCHEMES = ("neo4j", "neo4j+s", "neo4j+ssc", "bolt", "bolt+s", "bolt+ssc")

_SIZE = re.compile(rf"([0-9]{{1,18}})({'|'.join(BYTES)})")
_PLACEHOLDER = re.compile(r"\{(host|name|server_id)\}")
_INCLUDE_METADATA = re.compile(r"all|none|roles|users(=[^,\s]+(,[^,\s]+)*)?")
_PREFIX = re.compile(r"(?!.*(^|/)\.{1,2}(/|$))[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*")
_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def size(value: object) -> int:
    """Read a size in bytes.

    >>> size("50MiB")
    52428800
    """
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not found or int(found[1]) == 0:
        raise ValueError("a size such as 512MiB (B, KiB, MiB, GiB or TiB)")
    return int(found[1]) * BYTES[found[2]]


def _size_or_bytes(value: object, info: ValidationInfo) -> int:
    # In a file the unit of a bare number would be a guess; in Python a size is a number of bytes.
    return value if info.mode == "python" and type(value) is int and value > 0 else size(value)


def written_size(value: int) -> str:
    """Return a size in the form of the settings file, in the largest unit that divides it.

    >>> written_size(52428800)
    '50MiB'
    """
    unit = next(unit for unit, worth in reversed(BYTES.items()) if value % worth == 0)
    return f"{value // BYTES[unit]}{unit}"


def _absolute(value: object) -> Path:
    path = Path(value) if isinstance(value, str | Path) else Path()
    if not path.is_absolute() or ".." in path.parts or "\0" in str(path) or len(str(path)) > 4000:  # noqa: PLR2004  PATH_MAX
        raise ValueError("an absolute path without '..'")
    return path


def shaped(shape: re.Pattern[str], expected: str) -> AfterValidator:
    """Return a validator of text that must match `shape`. The error is `expected`, the shape in words."""

    def check(value: str) -> str:
        if not shape.fullmatch(value):
            raise ValueError(expected)
        return value

    return AfterValidator(check)


def _address(value: str) -> str:
    try:
        _, port = split_address(value)
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("host:port, with a port from 1 to 65535")
    return value


def _listen(value: str) -> str:
    try:
        _, port = split_address(value)
    except ValueError:
        port = None
    if port is None:
        raise ValueError("host:port to listen on, such as 0.0.0.0:8080")
    return value


def _bolt_uri(value: str) -> str:
    expected = f"one of {', '.join(f'{scheme}://' for scheme in BOLT_SCHEMES)} with host and port"
    try:
        parts = urlsplit(value)
        split_address(parts.netloc)
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in BOLT_SCHEMES or parts.path not in {"", "/"} or parts.fragment:
        raise ValueError(f"{expected}, such as neo4j://demo-client:7687; name and password are settings of their own")
    return value


def _endpoint(value: str) -> str:
    try:
        parts = urlsplit(value)
        split_address(parts.netloc)
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in {"http", "https"} or parts.query or parts.fragment:
        raise ValueError("http:// or https:// with host and port, and no credentials")
    return value


def _backup_addresses(value: object) -> dict[str, str] | str | None:
    if value is None:
        return None
    written = {"": value} if isinstance(value, str) else value
    expected = (
        "a map from server id or Bolt host to host:port, "
        "or a template of {host}, {name} and {server_id} such as '{name}.demo-headless:6362'"
    )
    if not isinstance(written, dict) or not written:
        raise ValueError(expected)
    for address in written.values():
        template = isinstance(value, str)
        if not isinstance(address, str) or (template and not _PLACEHOLDER.search(address)):
            raise ValueError(expected)
        try:
            _address(_PLACEHOLDER.sub("x", address) if template else address)
        except ValueError:
            raise ValueError(expected) from None
    return value  # type: ignore[return-value]  # checked above


def _cron(value: str) -> str:
    Cron.parse(value)
    return value


def _zone(value: str) -> str:
    return zone(value).key


def _database_globs(value: tuple[str, ...]) -> tuple[str, ...]:
    if not any(not glob.startswith("!") for glob in value):
        raise ValueError('at least one name or glob without "!", such as "*"')
    return value


def _one_or_several(value: object) -> object:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _set(value: object) -> object:
    if isinstance(value, str) and set_name_or_none(value) is None:
        raise ValueError("the name of a set alone, such as test: letters, digits, '.', '_' and '-'")
    if value == BEFORE_RESTORE:
        raise ValueError(f"another name: {BEFORE_RESTORE} is reserved for backups before a restore")
    return value


def _moment(value: object) -> datetime:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        time = None
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise ValueError("a time with its offset, such as 2026-11-23T02:00:00Z")
    return time


_TEXT = {"type": "string"}

Duration = durations.Duration
PositiveDuration = durations.PositiveDuration
# In each type the serializer comes last: otherwise the JSON Schema has no default in the form of the file.
Moment = Annotated[
    datetime,
    PlainValidator(_moment),
    WithJsonSchema({**_TEXT, "format": "date-time"}),
    PlainSerializer(datetime.isoformat, return_type=str),
]
Size = Annotated[
    int,
    PlainValidator(_size_or_bytes),
    WithJsonSchema({**_TEXT, "pattern": f"^{_SIZE.pattern}$"}),
    PlainSerializer(written_size, return_type=str),
]
AbsolutePath = Annotated[
    Path,
    PlainValidator(_absolute),
    WithJsonSchema({**_TEXT, "pattern": "^/"}),
    PlainSerializer(str, return_type=str),
]
BoltUri = Annotated[str, AfterValidator(_bolt_uri)]
Address = Annotated[str, AfterValidator(_address)]
Listen = Annotated[str, AfterValidator(_listen)]
BackupAddresses = Annotated[
    dict[str, str] | str | None,
    PlainValidator(_backup_addresses),
    WithJsonSchema({"anyOf": [{"type": "object", "additionalProperties": _TEXT}, _TEXT, {"type": "null"}]}),
]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
Prefix = Annotated[str, shaped(_PREFIX, "names with '/' between them but not at either end, such as neo4j")]
IncludeMetadata = Annotated[str, shaped(_INCLUDE_METADATA, "all, none, roles, users, or users=NAME,NAME")]
DatabaseGlob = Annotated[str, AfterValidator(database_glob)]
DatabaseGlobs = Annotated[tuple[DatabaseGlob, ...], AfterValidator(_database_globs)]
GlobOrGlobs = Annotated[
    tuple[DatabaseGlob, ...],
    BeforeValidator(_one_or_several),
    AfterValidator(_database_globs),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}),
]
RehearsalGlob = Annotated[
    str, shaped(REHEARSAL_GLOB, 'a glob of letters, digits, ".", "-", "*", "?" and ranges, such as "*-restored-[0-9]"')
]
DeclaredSet = Annotated[SetName, BeforeValidator(_set)]
Label = Annotated[
    str, shaped(_LABEL, "a name of at most 63 letters, digits, '.', '_' and '-', beginning with a letter or digit")
]
Fingerprint = Annotated[
    str, shaped(_FINGERPRINT, "the fingerprint of a public key: sha256: and 64 hex digits, from `signing show`")
]
CronText = Annotated[str, AfterValidator(_cron)]
Zone = Annotated[str, AfterValidator(_zone)]
