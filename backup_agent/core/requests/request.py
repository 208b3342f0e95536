"""Requests: their fields, and the faults of invalid ones.

Every fault of a request is reported, with the expected value and the type of the value found. No fault quotes the file,
which may be a link to a file with secrets. Names of unknown fields are content as well: they are quoted only if they
look like the name of a field.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Any, Self

from pydantic import (
    AwareDatetime,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from backup_agent.core.artifacts.attribution import Attribution, ExpectedError
from backup_agent.core.artifacts.names import (
    ANY_REQUEST_ID,
    DATABASE,
    DATABASE_GLOB,
    DEFAULT_SET,
    REQUEST_ID,
    SetName,
    set_name_or_none,
)
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.drill.levels import Level
from backup_agent.core.json_reader import NestingError, SurrogateError, read_json

LARGEST = 64 * 1024
"""Size of the largest request in bytes."""


class Action(StrEnum):
    """The action of a request."""

    BACKUP = "backup"
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    VERIFY = "verify"
    DRILL = "drill"
    PRUNE = "prune"
    RESTORE = "restore"
    HOLD = "hold"
    RELEASE = "release"
    FORGET = "forget"


RESERVED = (Action.RESTORE,)
"""Actions of a later version. Requests for them are rejected."""

BUILT = tuple(action for action in Action if action not in RESERVED)
"""The actions that this version carries out."""

NEEDS: dict[Action, tuple[str, ...]] = {
    Action.CANCEL: ("id",),
    Action.HOLD: ("reason",),
    Action.RELEASE: ("reason",),
    Action.FORGET: ("database", "reason"),
}
"""Action -> its required fields."""

TAKES: dict[str, tuple[Action, ...]] = {
    "database": (Action.BACKUP, Action.FORGET, Action.VERIFY, Action.DRILL, Action.HOLD, Action.RELEASE),
    "databases": (Action.BACKUP, Action.DRILL),
    "type": (Action.BACKUP,),
    "path": (Action.BACKUP,),
    "labels": (Action.BACKUP, Action.DRILL, Action.HOLD, Action.RELEASE),
    "artifact": (Action.HOLD, Action.RELEASE, Action.VERIFY, Action.DRILL, Action.RESTORE),
    "place": (Action.PRUNE, Action.VERIFY, Action.DRILL),
    "level": (Action.DRILL,),
    "force": (Action.PRUNE,),
    "dry_run": (Action.PRUNE,),
    "drop_owed": (Action.PRUNE,),
    "plan": (Action.PRUNE,),
    "heal": (Action.VERIFY,),
    "all": (Action.VERIFY,),
    "chain": (Action.VERIFY,),
    "until": (Action.HOLD, Action.PAUSE),
    "taken_from": (Action.HOLD, Action.RELEASE),
    "taken_to": (Action.HOLD, Action.RELEASE),
}
"""Field -> the actions that have it. With any other action the request is rejected.

If the field were ignored instead, a `prune` with a `database` would prune all databases.
"""

SELECTING = ("database", "taken_from", "taken_to", "labels")
"""The fields by which a `hold` or `release` selects artifacts. All that are given must match."""

_ADVICE = {
    (Action.CANCEL, "id"): "add the id of the request to cancel",
    (Action.HOLD, "reason"): "add why the artifact is held, for people who find the hold later",
    (Action.RELEASE, "reason"): "add the reason: retention may delete what is released",
    (Action.FORGET, "database"): "add the name of the database that was dropped for good",
    (Action.FORGET, "reason"): "add the reason: all backups of the database will be deleted",
}

GUARDED = (Action.FORGET, Action.PAUSE, Action.RELEASE)
"""Actions that the settings may forbid. Their keys in `requests.allow` are their names."""

TRACEPARENT = re.compile("(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""A traceparent (https://www.w3.org/TR/trace-context/, version 00): version, trace, span, flags."""

FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z_]{0,29}")
"""Names of unknown fields are quoted in a fault only if they match."""

MOST_NAMED = 10
"""Largest number of unknown fields that are named in a fault. The others are counted."""

_DROPPED = {"dropped": True}
"""The validation context of a request file: its id must not have the form of the agent's own ids."""

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)

_TIME_OF_DAY = {
    "until": time(23, 59, 59, tzinfo=UTC),
    "taken_from": time(0, 0, tzinfo=UTC),
    "taken_to": time(23, 59, 59, tzinfo=UTC),
}
"""Field -> the time of day that is used if only a day is given."""


class InvalidRequestError(ValueError):
    """An invalid request. `faults` has one line for each fault."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class Request(Attribution):
    """A request."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="A request dropped into /backup-requests")

    action: Action = Field(default=Action.BACKUP, description="what to do")
    id: str | None = Field(
        default=None,
        pattern=f"^{ANY_REQUEST_ID.pattern}$",
        description="idempotency key, without `@`: same id and content, same run; for cancel: the request to cancel",
    )
    database: str | None = Field(default=None, description="one name or glob; default: the databases of the settings")
    databases: str | list[str] | None = Field(default=None, description="a name, or a list of names and globs")
    type: BackupType = Field(default=BackupType.AUTO, description="FULL, DIFF, or AUTO: the agent decides")
    path: str | None = Field(
        default=None, description="the set, which has its own chains: a name such as `test`, or `<storage root>/test`"
    )
    artifact: str | None = Field(
        default=None, max_length=1000, description="key of an artifact, for hold, release, verify and drill"
    )
    place: str | None = Field(
        default=None,
        max_length=100,
        description="`local` or a destination; default for prune and verify: every place, for drill: drill.place",
    )
    level: Level | None = Field(default=None, description="for drill: how far; default: drill.level of the settings")
    dry_run: StrictBool = Field(default=False, description="for prune: answer with the plan and delete nothing")
    force: StrictBool = Field(
        default=False, description="for prune: delete even if retention.max_delete_share would refuse it"
    )
    plan: str | None = Field(
        default=None,
        max_length=100,
        description="for prune: id of the plan to carry out; fails if the plan has changed",
    )
    drop_owed: str | None = Field(
        default=None,
        max_length=100,
        description="for prune, with force: give up the copies missing at this destination",
    )
    heal: StrictBool = Field(default=False, description="for verify: replace damaged artifacts with an undamaged copy")
    all: StrictBool = Field(
        default=False, description="for verify: read every artifact at the place, not only due ones"
    )
    chain: StrictBool = Field(default=False, description="for verify, with artifact: also read everything it needs")
    until: AwareDatetime | None = Field(
        default=None, description="for hold and pause: the end, a day (its last second in UTC) or a time; default: none"
    )
    taken_from: AwareDatetime | None = Field(
        default=None, description="for hold and release: artifacts of this time or later; a day begins in UTC"
    )
    taken_to: AwareDatetime | None = Field(
        default=None, description="for hold and release: artifacts of this time or earlier; a day ends in UTC"
    )
    not_after: AwareDatetime | None = Field(
        default=None, description="ISO 8601 time with its offset; a request not started by then fails with `expired`"
    )

    traceparent: str | None = Field(
        default=None, description="trace of the caller (W3C Trace Context): log lines about the request have its id"
    )

    @field_validator("traceparent", mode="after")
    @classmethod
    def _of_a_trace(cls, value: str | None) -> str | None:
        if value is not None and not TRACEPARENT.fullmatch(value):
            raise ValueError("a traceparent expected, as 00-<32 hex digits>-<16 hex digits>-01")
        return value

    @field_validator("id", mode="after")
    @classmethod
    def _own_name_space(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Reject ids with an `@` in request files: they are for schedules and commands. `cancel` accepts any id."""
        cancels = info.data.get("action") is Action.CANCEL
        if value is not None and info.context == _DROPPED and not cancels and not REQUEST_ID.fullmatch(value):
            raise ValueError("an id without `@` expected: `@` is for the ids of schedules and commands")
        return value

    @field_validator("type", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("databases", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        if value is not None and not isinstance(value, str | list):
            raise ValueError(f"a name or a list of names expected (got {_kind(value)})")
        for number, name in enumerate(value if isinstance(value, list) else [], start=1):
            if not isinstance(name, str):
                raise ValueError(f"a list of names expected (item {number} is {_kind(name)})")  # noqa: TRY004  pydantic reports ValueError only
        return value

    @field_validator("database", "databases", mode="after")
    @classmethod
    def _names(cls, value: str | list[str] | None) -> str | list[str] | None:
        for number, name in enumerate([value] if isinstance(value, str) else value or [], start=1):
            if not DATABASE_GLOB.fullmatch(name):
                which = "" if isinstance(value, str) else f" (item {number} is something else)"
                raise ValueError(f"a database name or glob expected, of letters, digits, '.', '-', '*' and '?'{which}")
        if value == []:
            raise ValueError("name at least one database, or omit the field for the databases of the settings")
        return value

    @field_validator("not_after", "until", "taken_from", "taken_to", mode="before")
    @classmethod
    def _moment(cls, value: object, info: ValidationInfo) -> object:
        """Accept only ISO 8601: pydantic would also accept a number, and a number in quotes.

        If the field accepts a day, the day means its first or its last second in UTC.
        """
        if value is None or isinstance(value, datetime):
            return value
        of_day = _TIME_OF_DAY.get(info.field_name or "")
        try:
            if of_day is not None and isinstance(value, str) and _DAY.fullmatch(value):
                return datetime.combine(date.fromisoformat(value), of_day)
            moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            a_day = "a day, as 2026-11-23, or " if of_day else ""
            text = f"{a_day}an ISO 8601 time with its offset expected, as 2026-11-23T02:00:00Z (got {_kind(value)})"
            raise ValueError(text)
        return moment

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.database is not None and self.databases is not None:
            raise ValueError("`database` and `databases` are both given: give one of them")
        if self.action in RESERVED:
            built = ", ".join(f"`{action}`" for action in BUILT)
            raise ValueError(f"`action`: `{self.action}` is not implemented; this version has {built}")
        for field in NEEDS.get(self.action, ()):
            if not (getattr(self, field) or "").strip():
                raise ValueError(f"`{field}` is missing: {_ADVICE[self.action, field]}")
        for field, actions in TAKES.items():
            if field in self.model_fields_set and self.action not in actions:
                names = ", ".join(f"`{action}`" for action in actions if action in BUILT)
                raise ValueError(f"`{field}` is not a field of `{self.action}`, only of {names}: omit it")
        if self.action in (Action.VERIFY, Action.DRILL):
            self._check_scope()
        if self.action in (Action.HOLD, Action.RELEASE):
            self._check_selection()
        if self.action is Action.FORGET and not DATABASE.fullmatch(self.database or ""):
            raise ValueError("`database`: a name expected, not a glob")
        if self.plan is not None and self.place is None:
            raise ValueError("`plan` needs `place`: each place has a plan of its own")
        if self.drop_owed is not None and not self.force:
            raise ValueError("`drop_owed` needs `force`: true, because it gives up copies for good")
        return self

    def _check_scope(self) -> None:
        """Raise ValueError if a request for `verify` or `drill` has contradicting fields."""
        named = [field for field in ("artifact", "database", "databases", "all") if getattr(self, field)]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(f'`{field}`' for field in named)} are both given: give one of them")
        if self.action is Action.VERIFY and not DATABASE.fullmatch(self.database or "x"):
            raise ValueError("`database`: a name expected, not a glob")
        if self.chain and self.artifact is None:
            raise ValueError("`chain` needs `artifact`: it reads this artifact and everything that it needs")

    def _check_selection(self) -> None:
        """Raise ValueError if a request for `hold` or `release` names nothing, or has contradicting fields."""
        given = [field for field in SELECTING if getattr(self, field)]
        if not given and not (self.artifact or "").strip():
            text = "the key of an artifact, as `backup-agent list` shows it"
            raise ValueError(f"`artifact` is missing: add {text}, or select by `{'`, `'.join(SELECTING)}`")
        if given and self.artifact is not None:
            raise ValueError(f"`artifact` and `{given[0]}` are both given: give one of them")
        if (self.database or "").startswith("!"):
            raise ValueError("`database`: a name or glob without `!` expected")
        if self.taken_from and self.taken_to and self.taken_from > self.taken_to:
            raise ValueError("`taken_from` is later than `taken_to`")

    @property
    def selects(self) -> bool:
        """Whether this is a `hold` or `release` of all artifacts that match, not of one."""
        return self.action in (Action.HOLD, Action.RELEASE) and self.artifact is None

    @property
    def reads_in_slices(self) -> bool:
        """Whether this is a `verify` of `all`, a `chain` or a `database`, which is read in slices between backups."""
        return self.all or self.chain or (self.action is Action.VERIFY and self.database is not None)

    @property
    def asked(self) -> tuple[str, ...] | None:
        """The requested names and globs in lower case, as Neo4j stores names; None means those of the settings."""
        named = self.databases if self.database is None else self.database
        if named is None:
            return None
        return tuple(name.lower() for name in ([named] if isinstance(named, str) else named))

    @property
    def permissions(self) -> dict[str, str]:
        """Key of `requests.allow` that this request needs -> the field that needs the key."""
        flags = {"prune_force": ("force", self.force), "drop_owed": ("drop_owed", self.drop_owed is not None)}
        actions = {self.action.value: "action"} if self.action in GUARDED else {}
        return actions | {key: field for key, (field, given) in flags.items() if given}

    def set_name(self, root: str) -> SetName:
        """Return the set that `path` names below the storage root. Raise InvalidRequestError if `path` is invalid.

        >>> Request(path="/backups/test").set_name("/backups"), Request().set_name("/backups")
        ('test', 'default')
        """
        if self.path is None:
            return DEFAULT_SET
        inside = self.path.removeprefix(root.rstrip("/") + "/").removesuffix("/")
        if (found := set_name_or_none(inside)) is None:
            raise InvalidRequestError(
                (
                    (
                        f"path: one name below the storage root expected, as `test` or `{root.rstrip('/')}/test`; "
                        "a name has letters, digits, '.', '_', '-', and is not `owner.json`"
                    ),
                )
            )
        return found

    @property
    def trace_id(self) -> str | None:
        """The id of the caller's trace, or None."""
        return None if self.traceparent is None else self.traceparent.split("-")[1]

    def content(self) -> Mapping[str, Any]:
        """Return the request without default values."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def repeats(self, content: Mapping[str, Any] | None) -> bool:
        """Return whether this is the same request as one with this content. Each try may have a trace of its own."""
        mine, other = ({**one, "traceparent": None} for one in (self.content(), content or {}))
        return content is not None and mine == other


def parse(data: bytes, root: str) -> Request:
    """Parse a request file. Raise InvalidRequestError with every fault.

    `root` is the storage root: `path` must be below it.
    """
    if len(data) > LARGEST:
        raise InvalidRequestError((f"the file has {len(data)} bytes; a request has at most {LARGEST}",))
    try:
        document = read_json(data, _no_key_twice)
    except InvalidRequestError:
        raise
    except UnicodeDecodeError as error:
        raise InvalidRequestError((f"not UTF-8 at byte {error.start}: write JSON in UTF-8",)) from None
    except NestingError as error:
        raise InvalidRequestError((f"{error}: a request is one flat JSON object",)) from None
    except SurrogateError as error:
        raise InvalidRequestError((f"{error}: write both halves, or the character in UTF-8",)) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequestError((f'not JSON at {where}: write one object, as {{}} or {{"type":"FULL"}}',)) from None
    except ValueError:
        raise InvalidRequestError(("a number has too many digits: no field of a request is a number",)) from None
    if not isinstance(document, dict):
        raise InvalidRequestError((f"a JSON object expected (got {_kind(document)}): write {{}} for a backup of all",))
    try:
        request = Request.model_validate(document, context=_DROPPED)
    except ValidationError as error:
        raise InvalidRequestError(_faults(error)) from None
    request.set_name(root)
    return request


def is_whole(data: bytes) -> bool:
    """Return False if the data may be the beginning of a request whose file is still being written."""
    try:
        read_json(data)
    except (NestingError, SurrogateError):
        return True
    except ValueError:
        return False
    return True


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            name = key if FIELD_NAME.fullmatch(key) else "a field"
            raise InvalidRequestError((f"{name}: given twice; write it once",))
        document[key] = value
    return document


def _faults(error: ValidationError) -> tuple[str, ...]:
    items = error.errors(include_url=False, include_context=True)
    unknown = [str(item["loc"][0]) for item in items if item["type"] == "extra_forbidden"]
    named = [name for name in unknown if FIELD_NAME.fullmatch(name)][:MOST_NAMED]
    own_first = sorted(Request.model_fields, key=Attribution.model_fields.__contains__)
    fields = f"fields are {', '.join(own_first)}"
    faults = [_fault(item) for item in items if item["type"] != "extra_forbidden"]
    faults += [f"{name}: no such field ({fields})" for name in named]
    if others := len(unknown) - len(named):
        more = "more " if named else ""
        faults.append(f"{others} {more}unknown field{'s' if others > 1 else ''}: {fields}")
    return tuple(faults)


def _fault(item: Any) -> str:  # noqa: ANN401  pydantic's error dictionary
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "value_error":
        error = item["ctx"]["error"]
        text = f"{error} expected" if isinstance(error, ExpectedError) else str(error)
        return f"{path}: {text}" if path else text
    if item["type"] == "string_too_long":
        return f"{path}: at most {item['ctx']['max_length']} characters expected (got {len(item['input'])})"
    expected = _EXPECTED.get((item["type"], path)) or _EXPECTED.get((item["type"], ""), "another value expected")
    return f"{path}: {expected} (got {_kind(item['input'])})"


_EXPECTED = {
    ("string_pattern_mismatch", ""): "letters, digits, '.', '_' and '-' expected, a letter or digit first, 128 at most",
    ("enum", "action"): f"one of {', '.join(f'`{action}`' for action in BUILT)} expected",
    ("enum", "level"): f"one of {', '.join(f'`{level}`' for level in Level)} expected",
    ("enum", "type"): f"one of {', '.join(f'`{type_}`' for type_ in BackupType)} expected",
    ("bool_type", ""): "`true` or `false` expected, without quotes",
    ("string_type", ""): "text in quotes expected",
}
"""(pydantic's type of fault, field) -> the expected value. An empty field means any field."""


def _kind(value: object) -> str:
    """Return the kind of a JSON value, for a fault that must not quote it.

    >>> _kind(True), _kind(1.5), _kind("x")
    ('a boolean', 'a number', 'text')
    """
    kinds = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "an object",
    }
    return kinds.get(type(value), "null")
