"""Faults that the Bolt server injects, when it does so, and the errors it then sends.

Faults are listed in `cluster.json` under `bolt.faults` and apply from the next connection, login, route or statement
on. A fault with `times` is injected that often. The running server counts faults by their content: if a used-up fault
is saved again, it strikes again only if one of its fields differs.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from backup_agent.standins.cluster import BoltFault


class Moment(StrEnum):
    """When a fault strikes."""

    ACCEPT = "accept"
    LOGIN = "login"
    ROUTE = "route"
    STATEMENT = "statement"


KINDS = {
    "refuse": Moment.ACCEPT,  # the port is closed: connection refused
    "reset": Moment.ACCEPT,  # accept the connection and reset it at once, as a service without a pod does
    "hang_before_handshake": Moment.ACCEPT,  # accept the connection and send nothing, as in a long garbage collection
    "unauthorized": Moment.LOGIN,
    "rate_limit": Moment.LOGIN,
    "credentials_expired": Moment.STATEMENT,  # the login succeeds, every statement is refused
    "dead_routes": Moment.ROUTE,  # the routing table names `addresses`, by default one that refuses connections
    "forbidden": Moment.STATEMENT,
    "unavailable": Moment.STATEMENT,
    "unsupported": Moment.STATEMENT,  # the error of a Community server of the same version
    "fail": Moment.STATEMENT,  # an error with `code` and `message`
    "hang": Moment.STATEMENT,  # send no answer
    "hang_in_answer": Moment.STATEMENT,  # send half of the rows' bytes, then nothing
    "close_in_answer": Moment.STATEMENT,  # send half of the rows' bytes, then disconnect
    "endless_text": Moment.STATEMENT,  # send a row with a text of 4 GiB
    "other_columns": Moment.STATEMENT,  # send rows whose columns have other names
    "delay": Moment.STATEMENT,  # answer `seconds` later
    "move_leader": Moment.STATEMENT,  # answer, then make `to` the leader of `database`
    "clock": Moment.STATEMENT,  # shift datetime() by `seconds`
}


@dataclass(frozen=True)
class Failure:
    """An error that Neo4j reports: its code, its message, and since Bolt 5.7 its GQL status."""

    code: str
    message: str
    gql_status: str = "50N42"
    gql_status_5: str = "50N42"
    """GQL status on 5.26, where most errors have the generic 50N42."""


class Refused(Exception):  # noqa: N818  sent to the client as FAILURE; the conversation continues
    """A request is answered with a failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


UNAUTHORIZED = Failure(
    "Neo.ClientError.Security.Unauthorized",
    "The client is unauthorized due to authentication failure.",
    "42NFF",
)
RATE_LIMIT = Failure(
    "Neo.ClientError.Security.AuthenticationRateLimit",
    "The client has provided incorrect authentication details too many times in a row.",
    "42NFF",
)
CREDENTIALS_EXPIRED = Failure(
    "Neo.ClientError.Security.CredentialsExpired",
    "Permission denied.\n\n"
    "The credentials you provided were valid, but must be changed before you can use this instance.",
    "42NFF",
    "42NFF",
)


def forbidden(statement: str) -> Failure:
    """Return the error for a statement that the user may not run."""
    return Failure("Neo.ClientError.Security.Forbidden", f"Permission denied for {statement}.", "42NFF")


def unavailable(database: str) -> Failure:
    """Return the error for a database that is not available."""
    return Failure(
        "Neo.TransientError.General.DatabaseUnavailable",
        f"Database '{database}' is unavailable.",
        "08N09",
    )


def unsupported(statement: str, version: tuple[int, int]) -> Failure:
    """Return the error of a Community server for an Enterprise command (seen on 5.26.31 and 2026.09.0)."""
    title = "NotSystemDatabaseError" if version < (2025, 1) else "UnsupportedAdministrationCommand"
    return Failure(
        f"Neo.ClientError.Statement.{title}",
        f"Unsupported administration command: {statement}",
        "51N27",
    )


class FaultCount:
    """Selects the faults to inject and counts how often each was injected."""

    def __init__(self) -> None:
        self.used: Counter[BoltFault] = Counter()

    def take(
        self, faults: tuple[BoltFault, ...], moment: Moment, *, server: str, statement: str = ""
    ) -> tuple[BoltFault, ...]:
        """Return the faults to inject now, and count them. Raise ValueError if a kind is unknown."""
        striking = []
        for fault in faults:
            if fault.do not in KINDS:
                raise ValueError(f'bolt.faults: unknown kind "{fault.do}": use one of {", ".join(KINDS)}')
            if (
                KINDS[fault.do] is moment
                and fault.server in (None, server)
                and statement.upper().startswith((fault.statement or "").upper())
                and (fault.times is None or self.used[fault] < fault.times)
            ):
                self.used[fault] += 1
                striking.append(fault)
        return tuple(striking)
