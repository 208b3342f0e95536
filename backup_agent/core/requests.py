"""What a dropped request may say, and what is wrong with one that says something else.

A request is judged whole: every fault is named, with what was found and what to write instead.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from backup_agent.core.names import DATABASE, DATABASE_GLOB, REQUEST_ID, SET
from backup_agent.core.records import BackupType

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
    "artifact": (Action.HOLD, Action.RELEASE, Action.VERIFY, Action.DRILL, Action.RESTORE),
    "place": (Action.PRUNE, Action.VERIFY),
    "force": (Action.PRUNE,),
    "dry_run": (Action.PRUNE,),
    "drop_owed": (Action.PRUNE,),
    "plan": (Action.PRUNE,),
    "heal": (Action.VERIFY,),
}
"""Fields that mean something to a few actions alone: with any other they are a mistake, better told than ignored."""

_ADVICE = {
    (Action.CANCEL, "id"): "write the id of the request to cancel",
    (Action.HOLD, "artifact"): "write the key of the artifact to keep, as `backup-agent list` shows it",
    (Action.HOLD, "reason"): "write why it is kept: whoever finds the hold in a year wants to know",
    (Action.RELEASE, "artifact"): "write the key of the artifact whose hold ends",
    (Action.FORGET, "database"): "write the name of the database that was dropped for good",
    (Action.FORGET, "reason"): "write why: its last backups will be deleted",
}

Text = Annotated[str, Field(max_length=1000)]


class InvalidRequestError(ValueError):
    """A request that cannot be taken. `faults` has a line a fault."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class Request(BaseModel):
    """One request, as its JSON says it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", str_strip_whitespace=True, title="A request dropped into /backup-requests"
    )

    action: Action = Field(default=Action.BACKUP, description="what to do")
    id: str | None = Field(
        default=None,
        pattern=f"^{REQUEST_ID.pattern}$",
        description="idempotency key: same id and same content, same run; for cancel: the request to end",
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
    dry_run: bool = Field(default=False, description="for prune: answer with the plan, and delete nothing")
    force: bool = Field(default=False, description="for prune: also where retention.max_delete_share would refuse")
    plan: str | None = Field(
        default=None, max_length=100, description="for prune: digest of the plan that was looked at; another is refused"
    )
    drop_owed: str | None = Field(
        default=None, max_length=100, description="for prune, with force: give up the copies owed to this destination"
    )
    heal: bool = Field(default=False, description="for verify: replace what is damaged by a copy that is not")
    reason: Text | None = Field(default=None, description="free text, kept in the record and the log")
    requested_by: Text | None = Field(default=None, description="free text, kept in the record and the log")

    @field_validator("type", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("database", "databases", mode="after")
    @classmethod
    def _names(cls, value: str | list[str] | None) -> str | list[str] | None:
        for name in [value] if isinstance(value, str) else value or []:
            if not DATABASE_GLOB.fullmatch(name):
                raise ValueError(
                    f"a database name or glob expected (letters, digits, '.', '-', '*', '?'), got {name!r}"
                )
        if value == []:
            raise ValueError("name at least one database, or leave the field out for all that the settings name")
        return value

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.database is not None and self.databases is not None:
            raise ValueError("`database` and `databases` are both given: write one of them")
        if self.action in RESERVED:
            built = ", ".join(f"`{action}`" for action in BUILT)
            raise ValueError(f"`action`: {self.action.value!r} is not built yet; this version carries out {built}")
        for field in NEEDS.get(self.action, ()):
            if not getattr(self, field):
                raise ValueError(f"`{field}` is missing: {_ADVICE[self.action, field]}")
        for field, actions in TAKES.items():
            if getattr(self, field) not in (None, False) and self.action not in actions:
                names = ", ".join(f"`{action}`" for action in actions if action in BUILT)
                raise ValueError(f"`{field}` means nothing to `{self.action}`: leave it out; it is for {names}")
        if self.action is Action.FORGET and not DATABASE.fullmatch(self.database or ""):
            raise ValueError(f"`database`: one whole name expected, no glob (got {self.database!r})")
        if self.drop_owed is not None and not self.force:
            raise ValueError("`drop_owed` gives up on copies for good: write `force`: true beside it")
        return self

    @property
    def asked(self) -> tuple[str, ...] | None:
        """The names and globs asked for, in lower case as Neo4j keeps names; None where the settings say."""
        named = self.databases if self.database is None else self.database
        if named is None:
            return None
        return tuple(name.lower() for name in ([named] if isinstance(named, str) else named))

    def set_name(self, root: str) -> str:
        """Return the set that `path` names below the storage root; raise InvalidRequestError where it names none.

        >>> Request(path="/backups/test").set_name("/backups"), Request().set_name("/backups")
        ('test', 'default')
        """
        if self.path is None:
            return "default"
        inside = self.path.removeprefix(root.rstrip("/") + "/").removesuffix("/")
        if not SET.fullmatch(inside):
            raise InvalidRequestError(
                (
                    (
                        f"path: one name below the storage root expected, as `test` or `{root.rstrip('/')}/test` "
                        f"(got {self.path!r}); a name has letters, digits, '.', '_', '-', and is not `owner.json`"
                    ),
                )
            )
        return inside

    def content(self) -> Mapping[str, Any]:
        """Return what was asked, without defaults: what an id stands for, and what an answer repeats."""
        return self.model_dump(mode="json", exclude_defaults=True)


def parse(data: bytes, root: str) -> Request:
    """Read a request; raise InvalidRequestError with every fault.

    `root` is the storage root, which `path` must not leave.
    """
    if len(data) > LARGEST:
        raise InvalidRequestError((f"the file has {len(data)} bytes; a request has at most {LARGEST}",))
    try:
        document = json.loads(data.decode(), object_pairs_hook=_no_key_twice)
    except InvalidRequestError:
        raise
    except UnicodeDecodeError as error:
        raise InvalidRequestError((f"not UTF-8 at byte {error.start}: write JSON in UTF-8",)) from None
    except RecursionError:
        raise InvalidRequestError(("nested too deeply: a request is one flat JSON object",)) from None
    except ValueError as error:
        raise InvalidRequestError((f'not JSON: {error}; write one object, as {{}} or {{"type":"FULL"}}',)) from None
    if not isinstance(document, dict):
        raise InvalidRequestError(
            (f"a JSON object expected, got {type(document).__name__}: write {{}} for a backup of all",)
        )
    try:
        request = Request.model_validate(document)
    except ValidationError as error:
        raise InvalidRequestError(tuple(_fault(item) for item in error.errors())) from None
    request.set_name(root)
    return request


def is_whole(data: bytes) -> bool:
    """Tell whether the bytes are a whole JSON value: the writer of a file that is not may still be at it."""
    try:
        json.loads(data.decode())
    except (ValueError, RecursionError):
        return False
    return True


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            raise InvalidRequestError((f"{key}: stands twice; write it once",))
        document[key] = value
    return document


def _fault(item: Any) -> str:  # noqa: ANN401  pydantic's error dictionary
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        fields = ", ".join(Request.model_fields)
        return f"{path}: no such field (fields are {fields})"
    if item["type"] == "string_pattern_mismatch":
        text = "letters, digits, '.', '_' and '-' expected, a letter or digit first, 128 at the most"
        return f"{path}: {text} (got {_shown(item['input'])})"
    if item["type"] == "value_error":
        text = str(item["ctx"]["error"])
        return f"{path}: {text}" if path else text
    return f"{path}: {item['msg'][0].lower()}{item['msg'][1:]} (got {_shown(item['input'])})"


def _shown(value: object) -> str:
    """Return a value as a fault repeats it: cut, for a line that a person reads."""
    got = repr(value)
    return got if len(got) <= 80 else got[:77] + "..."  # noqa: PLR2004  about half a line
