"""What a dropped request may say, and what is wrong with one that says something else.

A request is judged whole: every fault is named, with what was expected, the kind of what was found, and what to write
instead. No fault quotes the file: it may be a link to a file with secrets in it. Names of unknown fields are content
too, and are quoted only if they look like the name of a field.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from backup_agent.core.artifacts.names import (
    ANY_REQUEST_ID,
    DATABASE,
    DATABASE_GLOB,
    DEFAULT_SET,
    REQUEST_ID,
    SetName,
    set_name_or_none,
)
from backup_agent.core.artifacts.records import BackupType, Value
from backup_agent.core.json_reader import NestingError, read_json
from backup_agent.core.requests.labels import MOST as MOST_LABELS
from backup_agent.core.requests.labels import labels

LARGEST = 64 * 1024
"""Bytes of the largest request that is read."""


class Action(StrEnum):
    """What a request asks for."""

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


RESERVED = (Action.DRILL, Action.RESTORE)
"""Actions of a later version: asked for, they are rejected, saying so."""

BUILT = tuple(action for action in Action if action not in RESERVED)
"""What this version carries out."""

NEEDS: dict[Action, tuple[str, ...]] = {
    Action.CANCEL: ("id",),
    Action.HOLD: ("artifact", "reason"),
    Action.RELEASE: ("artifact",),
    Action.FORGET: ("database", "reason"),
}
"""Fields without which an action means nothing."""

TAKES: dict[str, tuple[Action, ...]] = {
    "database": (Action.BACKUP, Action.FORGET, Action.VERIFY),
    "databases": (Action.BACKUP,),
    "type": (Action.BACKUP,),
    "path": (Action.BACKUP,),
    "labels": (Action.BACKUP,),
    "artifact": (Action.HOLD, Action.RELEASE, Action.VERIFY, Action.DRILL, Action.RESTORE),
    "place": (Action.PRUNE, Action.VERIFY),
    "force": (Action.PRUNE,),
    "dry_run": (Action.PRUNE,),
    "drop_owed": (Action.PRUNE,),
    "plan": (Action.PRUNE,),
    "heal": (Action.VERIFY,),
    "all": (Action.VERIFY,),
    "chain": (Action.VERIFY,),
}
"""Fields that mean something to a few actions alone: with any other they are a mistake, better told than ignored.

A `prune` that names a database would else prune all of them.
"""

_ADVICE = {
    (Action.CANCEL, "id"): "write the id of the request to cancel",
    (Action.HOLD, "artifact"): "write the key of the artifact to keep, as `backup-agent list` shows it",
    (Action.HOLD, "reason"): "write why it is kept: whoever finds the hold in a year wants to know",
    (Action.RELEASE, "artifact"): "write the key of the artifact whose hold ends",
    (Action.FORGET, "database"): "write the name of the database that was dropped for good",
    (Action.FORGET, "reason"): "write why: its last backups will be deleted",
}

FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z_]{0,29}")
"""Unknown names of this form are quoted in a fault."""

MOST_NAMED = 10
"""Unknown fields that are named in a fault; more are counted."""

_DROPPED = {"dropped": True}
"""The validation context of a dropped file: its id must not be one that the agent or a command makes."""

Text = Annotated[str, Field(max_length=1000)]


class InvalidRequestError(ValueError):
    """A request that cannot be taken. `faults` has a line a fault."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class Attribution(Value):
    """Who asked for a backup, why, and under which labels: fields of its record and of its log lines."""

    requested_by: str | None = None
    note: str | None = None
    labels: dict[str, str] = Field(default={})


class Request(BaseModel):
    """One request, as its JSON says it."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="A request dropped into /backup-requests")

    action: Action = Field(default=Action.BACKUP, description="what to do")
    id: str | None = Field(
        default=None,
        pattern=f"^{ANY_REQUEST_ID.pattern}$",
        description="idempotency key, without `@`: same id and content, same run; for cancel: the request to end",
    )
    database: str | None = Field(default=None, description="one name or glob; the settings' databases where absent")
    databases: str | list[str] | None = Field(default=None, description="a name, or a list of names and globs")
    type: BackupType = Field(default=BackupType.AUTO, description="FULL, DIFF, or AUTO: the agent decides")
    path: str | None = Field(
        default=None, description="the set: one name with chains of its own, as `test` or `<storage root>/test`"
    )
    artifact: str | None = Field(
        default=None, max_length=1000, description="key of an artifact, for hold, release and verify"
    )
    place: str | None = Field(
        default=None, max_length=100, description="`local` or a destination, for prune and verify; absent: every place"
    )
    dry_run: StrictBool = Field(default=False, description="for prune: answer with the plan, and delete nothing")
    force: StrictBool = Field(
        default=False, description="for prune: delete even if retention.max_delete_share would refuse it"
    )
    plan: str | None = Field(
        default=None, max_length=100, description="for prune: digest of the plan that was looked at; another is refused"
    )
    drop_owed: str | None = Field(
        default=None,
        max_length=100,
        description="for prune, with force: give up the copies missing at this destination",
    )
    heal: StrictBool = Field(default=False, description="for verify: replace what is damaged by a copy that is not")
    all: StrictBool = Field(default=False, description="for verify: read every artifact at the place; else what is due")
    chain: StrictBool = Field(default=False, description="for verify, with artifact: read also everything it needs")
    not_after: AwareDatetime | None = Field(
        default=None, description="ISO 8601 time with its offset; after it the request is not begun, but fails: expired"
    )
    reason: Text | None = Field(default=None, description="free text, kept in the record (as `note`) and the log")
    requested_by: Text | None = Field(default=None, description="free text, kept in the record and the log")
    labels: dict[str, str] = Field(
        default={},
        max_length=MOST_LABELS,
        description="for backup: at most 16 free keys and values, kept in the record and the log",
    )

    @field_validator("id", mode="after")
    @classmethod
    def _own_name_space(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Keep dropped files from the ids of schedules and commands, which hold an `@`; any id can be cancelled."""
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
                raise ValueError(f"a list of names expected (item {number} is {_kind(name)})")  # noqa: TRY004  told as a fault
        return value

    @field_validator("database", "databases", mode="after")
    @classmethod
    def _names(cls, value: str | list[str] | None) -> str | list[str] | None:
        for number, name in enumerate([value] if isinstance(value, str) else value or [], start=1):
            if not DATABASE_GLOB.fullmatch(name):
                which = "" if isinstance(value, str) else f" (item {number} is something else)"
                raise ValueError(f"a database name or glob expected, of letters, digits, '.', '-', '*' and '?'{which}")
        if value == []:
            raise ValueError("name at least one database, or leave the field out for all that the settings name")
        return value

    @field_validator("labels", mode="before")
    @classmethod
    def _labels(cls, value: object) -> object:
        try:
            return labels(value)
        except ValueError as error:
            raise ValueError(f"{error} expected") from None

    @field_validator("not_after", mode="before")
    @classmethod
    def _moment(cls, value: object) -> object:
        """Take ISO 8601 alone: pydantic would also take a number, and a number in quotes."""
        if value is None or isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise ValueError(f"an ISO 8601 time with its offset expected, as 2026-11-23T02:00:00Z (got {_kind(value)})")
        return moment

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.database is not None and self.databases is not None:
            raise ValueError("`database` and `databases` are both given: write one of them")
        if self.action in RESERVED:
            built = ", ".join(f"`{action}`" for action in BUILT)
            raise ValueError(f"`action`: `{self.action}` is not built yet; this version carries out {built}")
        for field in NEEDS.get(self.action, ()):
            if not (getattr(self, field) or "").strip():
                raise ValueError(f"`{field}` is missing: {_ADVICE[self.action, field]}")
        for field, actions in TAKES.items():
            if field in self.model_fields_set and self.action not in actions:
                names = ", ".join(f"`{action}`" for action in actions if action in BUILT)
                raise ValueError(f"`{field}` means nothing to `{self.action}`: leave it out; it is for {names}")
        if self.action is Action.VERIFY:
            self._check_scope()
        if self.action is Action.FORGET and not DATABASE.fullmatch(self.database or ""):
            raise ValueError("`database`: one whole name expected, no glob")
        if self.plan is not None and self.place is None:
            raise ValueError("`plan` is the plan of one place: write `place` beside it")
        if self.drop_owed is not None and not self.force:
            raise ValueError("`drop_owed` gives up on copies for good: write `force`: true beside it")
        return self

    def _check_scope(self) -> None:
        """Raise ValueError unless a request for `verify` names one kind of what is read."""
        named = [field for field in ("artifact", "database", "all") if getattr(self, field)]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(f'`{field}`' for field in named)} are both given: write one of them")
        if self.database is not None and not DATABASE.fullmatch(self.database):
            raise ValueError("`database`: one whole name expected, no glob")
        if self.chain and self.artifact is None:
            raise ValueError("`artifact` is missing: `chain` reads an artifact and everything that it needs")

    @property
    def reads_in_slices(self) -> bool:
        """Whether this asks to verify more than one artifact or one slice: it is done in slices that give way."""
        return self.all or self.chain or (self.action is Action.VERIFY and self.database is not None)

    @property
    def asked(self) -> tuple[str, ...] | None:
        """The names and globs asked for, in lower case as Neo4j keeps names; None where the settings say."""
        named = self.databases if self.database is None else self.database
        if named is None:
            return None
        return tuple(name.lower() for name in ([named] if isinstance(named, str) else named))

    @property
    def attribution(self) -> Attribution:
        """What the records and log lines of this request say of it."""
        return Attribution(requested_by=self.requested_by, note=self.reason, labels=self.labels)

    def set_name(self, root: str) -> SetName:
        """Return the set that `path` names below the storage root; raise InvalidRequestError where it names none.

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

    def content(self) -> Mapping[str, Any]:
        """Return what was asked, without defaults: what an id stands for, and what an answer repeats."""
        return self.model_dump(mode="json", exclude_defaults=True)


def parse(data: bytes, root: str) -> Request:
    """Read a dropped request; raise InvalidRequestError with every fault.

    `root` is the storage root, which `path` must not leave.
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
    """Tell whether the bytes are a whole JSON value, or no more bytes could make them an acceptable one.

    The writer of a file that is not whole may still be at it.
    """
    try:
        read_json(data)
    except NestingError:
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
    fields = f"fields are {', '.join(Request.model_fields)}"
    faults = [_fault(item) for item in items if item["type"] != "extra_forbidden"]
    faults += [f"{name}: no such field ({fields})" for name in named]
    if others := len(unknown) - len(named):
        more = "more " if named else ""
        faults.append(f"{others} {more}unknown field{'s' if others > 1 else ''}: {fields}")
    return tuple(faults)


def _fault(item: Any) -> str:  # noqa: ANN401  pydantic's error dictionary
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "value_error":
        text = str(item["ctx"]["error"])
        return f"{path}: {text}" if path else text
    if item["type"] == "string_too_long":
        return f"{path}: at most {item['ctx']['max_length']} characters expected (got {len(item['input'])})"
    expected = _EXPECTED.get((item["type"], path)) or _EXPECTED[item["type"], ""]
    return f"{path}: {expected} (got {_kind(item['input'])})"


_EXPECTED = {
    ("string_pattern_mismatch", ""): "letters, digits, '.', '_' and '-' expected, a letter or digit first, 128 at most",
    ("enum", "action"): f"one of {', '.join(f'`{action}`' for action in BUILT)} expected",
    ("enum", "type"): f"one of {', '.join(f'`{type_}`' for type_ in BackupType)} expected",
    ("bool_type", ""): "`true` or `false` expected, without quotes",
    ("string_type", ""): "text in quotes expected",
}
"""What a field takes, by pydantic's word for the fault; of all fields, or of one."""


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
