"""The child process of the doctor that looks at one destination.

It writes a small object if nothing is known of the store yet, or if its task says so.
"""

from backup_agent import processes
from backup_agent.catalog.place import place_of
from backup_agent.core.doctor.destination import DestinationAsked, StoreFacts, judge_destination
from backup_agent.core.reasons import BackupError
from backup_agent.core.requests.events import ChecksEnded, CheckTold
from backup_agent.core.requests.tasks import CheckTask
from backup_agent.jobs.event_writer import EventWriter, begin
from backup_agent.settings.model import Destination, Settings
from backup_agent.stores.kind import kind_of


def check(task: CheckTask, settings: Settings, writer: EventWriter) -> None:
    """Report the findings about the store of a destination."""
    place = place_of(task.place or "", settings)
    destination = place.destination
    if destination is None:
        raise TypeError("the task names no destination")
    try:
        unknown = not place.store_card.exists()
        facts = kind_of(destination).examine(place.store, probe=unknown, write=task.write)
    except BackupError as error:
        facts = StoreFacts(listing=error.failure)
    for finding in judge_destination(facts, asked(place.name, destination)):
        writer.tell(CheckTold(finding=finding))
    writer.tell(ChecksEnded())


def asked(name: str, destination: Destination) -> DestinationAsked:
    """Return the requirements of the settings for a destination."""
    options = destination.put_options
    return DestinationAsked(
        name=name,
        deletes=destination.deletes,
        single_writer=destination.single_writer,
        locks=any(option.startswith("ObjectLock") for option in options),
        encrypts=str(options.get("ServerSideEncryption", "")),
        retention=destination.retention is not None,
    )


def main() -> None:
    """Run as a child process: the task on stdin, events on stdout."""
    check(*begin(CheckTask))


if __name__ == "__main__":
    main()
    processes.leave()
