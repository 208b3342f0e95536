"""The child process of the doctor that looks for neo4j-admin. It starts no JVM: the jars tell the version."""

import os

from backup_agent import processes
from backup_agent.core.doctor.checks import Check
from backup_agent.core.doctor.cluster import judge_admin, judge_versions, of_failure
from backup_agent.core.neo4j.command import Launch
from backup_agent.core.reasons import PermanentError
from backup_agent.core.requests.events import ChecksEnded, CheckTold
from backup_agent.core.requests.tasks import CheckTask
from backup_agent.jobs.admin_call import kept_version
from backup_agent.jobs.event_writer import EventWriter, begin
from backup_agent.neo4j_admin import program
from backup_agent.settings.model import Settings


def check(task: CheckTask, settings: Settings, writer: EventWriter) -> None:
    """Report whether neo4j-admin is found, and whether its version fits those of the servers."""
    try:
        found = program.find(settings.neo4j.admin, Launch(settings.neo4j.launch), os.environ)
    except PermanentError as error:
        writer.tell(CheckTold(finding=of_failure(Check.NEO4J_ADMIN, error.failure)))
        version = None
    else:
        version = found[0].version or kept_version(found[0], os.environ, settings.storage.root / ".agent")
        writer.tell(CheckTold(finding=judge_admin(found[0].path, version)))
    writer.tell(CheckTold(finding=judge_versions(version, task.server_versions)))
    writer.tell(ChecksEnded())


def main() -> None:
    """Run as a child process: the task on stdin, events on stdout."""
    check(*begin(CheckTask))


if __name__ == "__main__":
    main()
    processes.leave()
