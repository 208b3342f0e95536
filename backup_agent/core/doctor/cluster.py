"""Judge what was seen of the cluster: login, role, backup ports, clock, versions."""

from collections.abc import Collection, Mapping, Sequence

from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.capabilities import Capabilities, Version, other_line
from backup_agent.core.doctor.checks import Check, CheckFinding, fail, ok, unknown, warn
from backup_agent.core.escaping import first_few
from backup_agent.core.reasons import Failure, PermanentError
from backup_agent.core.retention.clock import TOLERANCE

SYSTEM = "system"

NOTICED_SECONDS = 30.0
"""Difference of two clocks in seconds that is a warning. Beyond `TOLERANCE` nothing is deleted."""

OPEN = "open the port: server.backup.listen_address, network policies, neo4j.backup_addresses"
NETWORK = (
    "the servers accept other machines by their settings: admit the agent's pod in their NetworkPolicy or firewall "
    "(docs/alone.md), or correct neo4j.backup_addresses"
)
LISTEN = "set server.backup.enabled=true and server.backup.listen_address=0.0.0.0:6362 on each server, and restart it"

GRANTS = "let an administrator run the statements of docs/discovery.md for the role of this account"


def judge_host(host: str, fault: str | None) -> CheckFinding:
    """Judge the host of `neo4j.uri`. `fault` says why it does not resolve, or is None."""
    if fault is None:
        return ok(Check.HOST, f"{host} resolves")
    return fail(
        Check.HOST,
        f"neo4j.uri: {host} does not resolve: {fault}",
        "correct the host in neo4j.uri, or the DNS of this pod; a Kubernetes service is SERVICE.NAMESPACE.svc",
    )


def judge_role(databases: Collection[DatabaseName], notes: Sequence[str]) -> CheckFinding:
    """Judge what SHOW DATABASES lists, and the statements that had no answer."""
    if not set(databases) - {SYSTEM}:
        return fail(
            Check.ROLE,
            "SHOW DATABASES lists only `system`, so no other database would be backed up"
            if databases
            else "SHOW DATABASES lists no database, so none would be backed up",
            f"{GRANTS}: without ACCESS it sees no other database",
        )
    if notes:
        return warn(Check.ROLE, "; ".join(notes), GRANTS)
    return ok(Check.ROLE, f"{len(databases)} databases are listed, and all statements are answered")


def judge_backup_listeners(
    listeners: Mapping[str, str | None], reachable: Mapping[str, str | None] | None = None
) -> CheckFinding:
    """Judge the servers' own settings of their backup listeners.

    `listeners` maps each server whose settings are visible to None, or to the reason why no other machine reaches it.
    `reachable` is that of `judge_backup_ports`: an agent on the servers' machine reaches them all the same.
    """
    if reachable and not any(reachable.values()):
        return ok(Check.BACKUP_LISTENERS, "every backup port accepts connections from here")
    if not listeners:
        return unknown(
            Check.BACKUP_LISTENERS,
            "no server shows its settings server.backup.* to this account",
            "GRANT SHOW SETTING server.backup.* ON DBMS, as in docs/discovery.md",
        )
    faults = [f"{address}: {fault}" for address, fault in listeners.items() if fault is not None]
    if not faults:
        return ok(Check.BACKUP_LISTENERS, f"{first_few(listeners)} accept other machines")
    text = f"{len(faults)} of {len(listeners)} servers accept no other machine: {first_few(faults)}"
    return (fail if len(faults) == len(listeners) else warn)(Check.BACKUP_LISTENERS, text, LISTEN)


def judge_backup_ports(
    reachable: Mapping[str, str | None], listeners: Mapping[str, str | None] | None = None
) -> CheckFinding:
    """Judge the backup ports. `reachable` maps each address to None, or to the reason why a connection failed.

    A reason begins with the address. The same reason of several servers is stated once. `listeners` are those of
    `judge_backup_listeners`: if all are open, only the network or the address can be the cause.
    """
    if not reachable:
        return unknown(
            Check.BACKUP_PORTS,
            "no server is known: Bolt has listed none, and neo4j.servers is empty",
            "correct what Bolt needs first, or set neo4j.servers",
        )
    faults: dict[str, list[str]] = {}
    for address, reason in reachable.items():
        if reason is not None:
            faults.setdefault(reason.removeprefix(address).strip(), []).append(address)
    if not faults:
        return ok(Check.BACKUP_PORTS, f"{first_few(reachable)} accept connections")
    failed = sum(map(len, faults.values()))
    texts = [f"{first_few(addresses)}{':' * (len(addresses) > 1)} {reason}" for reason, addresses in faults.items()]
    text = f"{failed} of {len(reachable)} servers cannot be reached: {'. '.join(texts)}"
    advice = NETWORK if listeners and not any(listeners.values()) else OPEN
    return (fail if failed == len(reachable) else warn)(Check.BACKUP_PORTS, text, advice)


def judge_clock(check: Check, offset: float | None, whose: str) -> CheckFinding:
    """Judge the difference of another clock to this machine's, in seconds. None means that it is not known."""
    if offset is None:
        return unknown(check, f"the clock of {whose} could not be read")
    side = "ahead of" if offset > 0 else "behind"
    text = f"the clock of {whose} is {abs(offset):.0f} s {side} this machine's"
    if abs(offset) > TOLERANCE.total_seconds():
        return fail(check, f"{text}, so nothing is deleted", "correct the clock: NTP on the node, or at the other side")
    if abs(offset) > NOTICED_SECONDS:
        return warn(check, text, "correct the clock: restores to a moment choose their artifact by it")
    return ok(check, f"the clock of {whose} agrees with this machine's to {NOTICED_SECONDS:.0f} s")


def judge_admin(path: str, version: Version | None) -> CheckFinding:
    """Judge a neo4j-admin that was found. `version` is None if it is unknown without starting it."""
    try:
        Capabilities.of(version)
    except PermanentError as error:
        return of_failure(Check.NEO4J_ADMIN, error.failure)
    return ok(Check.NEO4J_ADMIN, f"{path}, {f'version {version}' if version else 'its version is not known yet'}")


def judge_versions(admin: Version | None, servers: Sequence[str]) -> CheckFinding:
    """Judge the version of neo4j-admin against those of the servers."""
    if admin is None or not servers:
        missing = "neo4j-admin" if admin is None else "the servers"
        return unknown(Check.VERSIONS, f"the version of {missing} is not known")
    if warning := other_line(admin, tuple(servers)):
        found, _, advice = warning.partition(": ")
        return warn(Check.VERSIONS, found, advice)
    return ok(Check.VERSIONS, f"neo4j-admin {admin}, servers {', '.join(servers)}")


def of_failure(check: Check, failure: Failure) -> CheckFinding:
    """Return the finding of a check that ended in a failure."""
    return fail(check, failure.error, failure.advice)
