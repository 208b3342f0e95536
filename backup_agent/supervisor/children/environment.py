"""The environment of child processes: the supervisor's, without the settings and unneeded secrets.

Variables are withheld by name and all others are passed: neo4j-admin may be a script, and a credential process of AWS
may be any program, and these may need variables that the agent does not know.
"""

import re
from collections.abc import Mapping
from enum import Enum

from backup_agent.processes import LOCK_DESCRIPTOR, TAG


class Access(Enum):
    """A service that a child may log in to, and the names of the variables that only such a child gets."""

    BOLT = re.compile(r"NEO4J_(?:AUTH|USERNAME|PASSWORD).*", re.IGNORECASE)
    CLOUD = re.compile(r"(?:AWS|AZURE|GOOGLE|BOTO)_.*|BOTO.*", re.IGNORECASE)


CHILDREN: dict[str, tuple[frozenset[Access], frozenset[Access]]] = {
    # Module of the child -> its access in every task, and its additional access in tasks that use a destination
    "backup_agent.jobs.survey": (frozenset(), frozenset()),  # reads only the volume
    "backup_agent.cluster": (frozenset({Access.BOLT}), frozenset()),  # queries the cluster and opens no place
    "backup_agent.jobs.backup": (frozenset(), frozenset()),  # the backup port needs no login
    "backup_agent.jobs.destination": (frozenset(), frozenset({Access.CLOUD})),
    "backup_agent.jobs.prune": (frozenset(), frozenset()),  # at the volume, like `hold`
    "backup_agent.jobs.drill": (frozenset(), frozenset({Access.CLOUD})),  # its scratch server needs no login
    "backup_agent.jobs.hold": (frozenset(), frozenset()),
    "backup_agent.jobs.check_cluster": (frozenset({Access.BOLT}), frozenset()),
    "backup_agent.jobs.cluster_state": (frozenset({Access.BOLT}), frozenset()),  # of the command `doctor --cluster`
    "backup_agent.jobs.check_admin": (frozenset(), frozenset()),
    "backup_agent.jobs.check_volume": (frozenset(), frozenset()),
    "backup_agent.jobs.check_keys": (frozenset(), frozenset()),
    "backup_agent.jobs.check_destination": (frozenset(), frozenset({Access.CLOUD})),
    "backup_agent.jobs.notify": (frozenset(), frozenset()),  # its URL is in a file
    "backup_agent.jobs.page": (frozenset(), frozenset()),  # reads the volume, with its notes on the destinations
    "backup_agent.jobs.verify": (frozenset(), frozenset({Access.CLOUD})),  # may heal the volume from a destination
}

_OTHER_SECRETS = re.compile(
    r".*(?:PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|PRIVATE|ACCESS_?KEY|API_?KEY).*", re.IGNORECASE
)
"""Names of other secrets. A child with access to a cloud gets them, since a credential process may need them."""

_SETTINGS = re.compile(r"BACKUP_AGENT_.*")
"""No child gets these variables: its task contains the settings."""

_KEPT = frozenset({TAG, LOCK_DESCRIPTOR})


def of_child(module: str, parent: Mapping[str, str], *, remote: bool) -> dict[str, str]:
    """Return the environment of a child process. `remote` says whether its task uses a destination."""
    always, if_remote = CHILDREN.get(module, (frozenset(), frozenset()))
    access = always | if_remote if remote else always
    return {name: value for name, value in parent.items() if name in _KEPT or _is_passed(name, access)}


def _is_passed(name: str, access: frozenset[Access]) -> bool:
    for kind in Access:
        if kind.value.fullmatch(name):
            return kind in access
    if _SETTINGS.fullmatch(name):
        return False
    return Access.CLOUD in access or not _OTHER_SECRETS.fullmatch(name)
