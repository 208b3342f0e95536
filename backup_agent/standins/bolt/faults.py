"""What the server can be told to do wrong, when, and which error that is.

A fault stands in `cluster.json` under `bolt.faults` and holds from the next connection, login, route or statement on.
One with `times` is used up; the count is kept by the running server, per fault as written, so that the same fault
saved again is still used up: change any of its fields to arm it anew.
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
    "refuse": Moment.ACCEPT,  # nobody listens: connection refused
    "reset": Moment.ACCEPT,  # accepted and dropped at once, as a service without a pod behind it does
    "hang_before_handshake": Moment.ACCEPT,  # accepted, then silence: a server in a long garbage collection
    "unauthorized": Moment.LOGIN,
    "rate_limit": Moment.LOGIN,
    "credentials_expired": Moment.STATEMENT,  # the login succeeds, every statement is refused
    "dead_routes": Moment.ROUTE,  # the table names `addresses`, or without them one that refuses
    "forbidden": Moment.STATEMENT,
    "unavailable": Moment.STATEMENT,
    "unsupported": Moment.STATEMENT,  # the words of a Community server of that version
    "fail": Moment.STATEMENT,  # `code` and `message`
    "hang": Moment.STATEMENT,  # no answer at all
    "hang_in_answer": Moment.STATEMENT,  # half of the rows' bytes, then silence
    "close_in_answer": Moment.STATEMENT,  # half of the rows' bytes, then the connection is gone
    "delay": Moment.STATEMENT,  # the answer comes `seconds` later
    "move_leader": Moment.STATEMENT,  # answers, then `to` leads `database`
    "clock": Moment.STATEMENT,  # datetime() is `seconds` off
}


@dataclass(frozen=True)
class Failure:
    """An error as Neo4j reports it: its code, its text, and since Bolt 5.7 a GQL status, by the server's version."""

    code: str
    message: str
    gql_status: str = "50N42"
    gql_status_5: str = "50N42"
    """What 5.26 says: mostly "no status yet"."""


class Refused(Exception):  # noqa: N818  Bolt's word is FAILURE: it is sent, and the conversation goes on
    """A statement or a login ends with a failure."""

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
    """Return the refusal of a statement the user has no grant for."""
    return Failure("Neo.ClientError.Security.Forbidden", f"Permission denied for {statement}.", "42NFF")


def unavailable(database: str) -> Failure:
    """Return the error of a database that is not up (yet)."""
    return Failure(
        "Neo.TransientError.General.DatabaseUnavailable",
        f"Database '{database}' is unavailable.",
        "08N09",
    )


def unsupported(statement: str, version: tuple[int, int]) -> Failure:
    """Return a Community server's answer to an Enterprise command (seen on 5.26.31 and 2026.09.0)."""
    title = "NotSystemDatabaseError" if version < (2025, 1) else "UnsupportedAdministrationCommand"
    return Failure(
        f"Neo.ClientError.Statement.{title}",
        f"Unsupported administration command: {statement}",
        "51N27",
    )


class FaultCount:
    """Which faults strike, and how often each has."""

    def __init__(self) -> None:
        self.used: Counter[BoltFault] = Counter()

    def take(
        self, faults: tuple[BoltFault, ...], moment: Moment, *, server: str, statement: str = ""
    ) -> tuple[BoltFault, ...]:
        """Return the faults that strike now, and count them; raise ValueError for a kind that does not exist."""
        striking = []
        for fault in faults:
            if fault.do not in KINDS:
                raise ValueError(f'bolt.faults: no kind "{fault.do}"; there are {", ".join(KINDS)}')
            if (
                KINDS[fault.do] is moment
                and fault.server in (None, server)
                and statement.upper().startswith((fault.statement or "").upper())
                and (fault.times is None or self.used[fault] < fault.times)
            ):
                self.used[fault] += 1
                striking.append(fault)
        return tuple(striking)
