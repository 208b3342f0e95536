"""The environment of each kind of child, as a table."""

import pytest

from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.doctor.checks import Step
from backup_agent.core.doctor.examination import DoctorStage
from backup_agent.processes import LOCK_DESCRIPTOR, TAG
from backup_agent.supervisor.children.doctor_steps import module_of
from backup_agent.supervisor.children.environment import CHILDREN, of_child
from backup_agent.supervisor.children.runs import Purpose
from backup_agent.supervisor.work.maintenance import MODULES
from tests.builders import OFFSITE

PARENT = dict.fromkeys(
    (
        "PATH",
        "HOME",
        "JAVA_HOME",
        "POD_NAMESPACE",
        "HTTPS_PROXY",
        "NEO4J_HOME",
        "NEO4J_ACCEPT_LICENSE_AGREEMENT",
        "NEO4J_PASSWORD",
        "NEO4J_AUTH",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_REGION",
        "AWS_CA_BUNDLE",
        "VAULT_TOKEN",
        "BACKUP_AGENT_CONFIG",
        "BACKUP_AGENT_STORAGE__DESTINATIONS__OFFSITE__BUCKET",
        TAG,
        LOCK_DESCRIPTOR,
    ),
    "x",
)
CLOUD = {name for name in PARENT if name.startswith("AWS_")} | {"VAULT_TOKEN"}
BOLT = {"NEO4J_PASSWORD", "NEO4J_AUTH"}
SETTINGS = {"BACKUP_AGENT_CONFIG", "BACKUP_AGENT_STORAGE__DESTINATIONS__OFFSITE__BUCKET"}


@pytest.mark.parametrize(
    ("module", "remote", "held_back"),
    [
        pytest.param("backup_agent.cluster", False, CLOUD, id="discovery"),
        pytest.param("backup_agent.cluster", True, CLOUD, id="discovery-never-gets-cloud-keys"),
        pytest.param("backup_agent.jobs.survey", False, CLOUD | BOLT, id="survey"),
        pytest.param("backup_agent.jobs.backup", True, CLOUD | BOLT, id="backup"),
        pytest.param("backup_agent.jobs.destination", True, BOLT, id="work-at-a-destination"),
        pytest.param("backup_agent.jobs.prune", False, CLOUD | BOLT, id="retention-on-the-volume"),
        pytest.param("backup_agent.jobs.hold", False, CLOUD | BOLT, id="hold-on-the-volume"),
        pytest.param("backup_agent.jobs.verify", False, CLOUD | BOLT, id="verify-of-the-volume"),
        pytest.param("backup_agent.jobs.verify", True, BOLT, id="verify-of-the-volume-that-heals-it"),
        pytest.param("backup_agent.jobs.check_cluster", False, CLOUD, id="doctor-at-the-cluster"),
        pytest.param("backup_agent.jobs.cluster_state", False, CLOUD, id="state-of-the-cluster"),
        pytest.param("backup_agent.jobs.check_volume", False, CLOUD | BOLT, id="doctor-at-the-volume"),
        pytest.param("backup_agent.jobs.check_destination", True, BOLT, id="doctor-at-a-destination"),
        pytest.param("backup_agent.jobs.notify", False, CLOUD | BOLT, id="notification"),
        pytest.param("backup_agent.jobs.page", False, CLOUD | BOLT, id="status-page"),
        pytest.param("somebody.elses.module", True, CLOUD | BOLT, id="a-child-that-is-not-in-the-table"),
    ],
)
def test_a_child_gets_only_the_secrets_that_it_needs(module: str, remote: bool, held_back: set[str]) -> None:
    found = of_child(module, PARENT, remote=remote)

    assert PARENT.keys() - found.keys() == held_back | SETTINGS


def test_every_child_is_in_the_table() -> None:
    alone = {
        f"backup_agent.{name}"
        for name in ("cluster", "jobs.survey", "jobs.backup", "jobs.notify", "jobs.page", "jobs.cluster_state")
    }
    alone |= {module_of(DoctorStage(step)) for step in Step if step is not Step.SETTINGS}
    modules = {*MODULES.values(), *alone}
    at_a_destination = {Purpose.of(module, OFFSITE, remote=True).module for module in MODULES.values()}
    on_the_volume = {Purpose.of(module, VOLUME, remote=False).module for module in modules}

    assert CHILDREN.keys() == at_a_destination | on_the_volume
