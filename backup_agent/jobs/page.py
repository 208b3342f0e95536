"""The child process that makes the status page: one HTML document, a file on the volume, from the index.

The supervisor sends the file. No library but jinja2 writes HTML, and it escapes everything: names, reasons and errors
come from outside. One database is in memory at a time.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from backup_agent import durable, processes
from backup_agent.catalog.contents import by_database
from backup_agent.catalog.holds import holds_at
from backup_agent.catalog.index import Rewriting
from backup_agent.catalog.place import Place, all_places
from backup_agent.cluster.saved_topology import load_topology
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.keys import database_of
from backup_agent.core.artifacts.names import DatabaseName, SetName, lowered
from backup_agent.core.escaping import printable, short_shell_word
from backup_agent.core.neo4j.topology import split
from backup_agent.core.page.database import DatabasePoints, StoredArtifacts, points_of
from backup_agent.core.page.overview import (
    MOST_DATABASES,
    Overview,
    coming_backups,
    hidden_pairs,
    late_since,
    overview,
    rows_each,
)
from backup_agent.core.page.style import STYLE
from backup_agent.core.page.task import FILE, PageTask
from backup_agent.core.reasons import BackupError
from backup_agent.core.requests.events import PageMade
from backup_agent.core.restore.asked import artifact_id
from backup_agent.core.restore.machines import agent_of, servers
from backup_agent.core.retention.policy import Policy
from backup_agent.core.status import Status
from backup_agent.jobs.event_writer import EventWriter, begin
from backup_agent.settings.model import Settings

Group = tuple[SetName, DatabaseName]


def make(status: Status, settings: Settings, writer: EventWriter) -> None:
    """Write the page and tell that it is written, or why not."""
    try:
        content = html(view(status, settings)).encode()
        file = settings.storage.root / FILE
        file.parent.mkdir(exist_ok=True)
        durable.remove_temporaries(file.parent)  # left by a process that was killed while it wrote
        durable.write(file, content, sync=False)
    except (BackupError, OSError) as error:
        writer.tell(PageMade(error=str(error)))
    else:
        writer.tell(PageMade())


def view(status: Status, settings: Settings) -> Overview:
    """Return what the page shows. Raise BackupError or OSError if the volume cannot be read."""
    hidden, late, coming = hidden_pairs(status), late_since(status), coming_backups(status)
    command = _Command(settings)
    found: list[DatabasePoints] = []
    left_out = 0
    for (set_name, database), stored in _databases(status, settings):
        pair = set_name, lowered(database)
        if pair in hidden or len(found) == MOST_DATABASES:
            left_out += 1
            continue
        drills = [one for one in status.drills if (one.set, lowered(one.database)) == pair]
        found.append(
            points_of(
                set_name,
                database,
                stored,
                drills,
                status.now,
                most=rows_each(status),
                command=command,
                coming=coming.get(pair, ()),
                late_since=late.get(pair),
            )
        )
    return overview(status, found, left_out)


def html(shown: Overview) -> str:
    """Return the document."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.do"],
        finalize=lambda value: printable(value) if type(value) is str else value,  # not Markup
    )
    text: str = environment.get_template("page.html").render(page=shown, style=STYLE)
    return text


class _Command:
    """The command for the plan of a restore, in a line for a shell with kubectl if the agent runs in a rendered pod."""

    def __init__(self, settings: Settings) -> None:
        topology = load_topology(settings.storage.root)
        hosts = [(split(one.address)[0], None) for one in topology.copies if one.address] if topology else []
        agent = agent_of(settings.cluster, servers(settings.cluster, hosts))
        namespace = f" -n {short_shell_word(agent.namespace)}" if agent.namespace else ""
        self._front = f"kubectl exec{namespace} {short_shell_word(agent.pod)} -- " if agent.is_pod else ""
        self._keys: dict[str, str] = {}

    def __call__(self, key: str) -> str:
        """Return the command for an artifact, by its id, or by its key if another artifact has that id."""
        short = artifact_id(key)
        named = short if self._keys.setdefault(short, key) == key else short_shell_word(key)
        return f"{self._front}backup-agent restore {named}"


def _databases(status: Status, settings: Settings) -> Iterator[tuple[Group, list[StoredArtifacts]]]:
    """Yield the artifacts of each database at all places, the volume first."""
    volume, *others = all_places(settings)
    with ExitStack() as stack:
        sources = [_on_volume(volume)]
        for place in others:
            index = stack.enter_context(Rewriting(place.index, writes=False))
            damaged = status.places[place.name].damaged if place.name in status.places else None
            sources.append(_in_index(place, index, damaged or ()))
        for group, parts in groupby(heapq.merge(*sources, key=itemgetter(0)), key=itemgetter(0)):
            stored = {one.place: one for _, one in parts}
            if (local := stored.get(volume.name)) is not None and group[0] in settings.declared_sets:
                stored |= {place.name: _with_copies(place, local.entries, stored.get(place.name)) for place in others}
            yield group, list(stored.values())


def _on_volume(volume: Place) -> Iterator[tuple[Group, StoredArtifacts]]:
    for contents in by_database(volume, writes=False):
        if contents.entries:
            group = database_of(next(iter(contents.entries)))
            ruled = group[0] in volume.settings.declared_sets and not contents.unreadable
            policy = volume.policy if ruled else None
            entries = tuple(contents.entries.values())
            yield group, StoredArtifacts(volume.name, entries, contents.unsound, contents.holds, policy=policy)


def _in_index(place: Place, index: Rewriting, damaged: Iterable[str]) -> Iterator[tuple[Group, StoredArtifacts]]:
    """Yield the artifacts of each database at a destination, as its last pass has listed them."""
    holds = holds_at(place, {})
    faults = dict.fromkeys(damaged, "damaged")
    entries = (known.line.entry for known in index.rest() if known.line.recognised)
    for group, members in groupby(entries, key=lambda entry: (entry.set, entry.database)):
        own = {entry.key: entry for entry in members}
        yield (
            group,
            StoredArtifacts(
                place.name,
                tuple(own.values()),
                {key: fault for key, fault in faults.items() if key in own},
                {key: hold for key, hold in holds.items() if key in own},
                policy=_policy(place),
            ),
        )


def _with_copies(place: Place, local: Sequence[Entry], listed: StoredArtifacts | None) -> StoredArtifacts:
    """Return the artifacts at a destination: those in its index, and the newer copies that the notes confirm."""
    listed = listed or StoredArtifacts(place.name, (), policy=_policy(place))
    owed = {entry.key for entry in place.record_notes.owed(local)}
    known = owed | {entry.key for entry in listed.entries}
    newer = [one for one in local if one.key not in known and place.record_notes.has(one.key)]
    return replace(listed, entries=(*listed.entries, *newer), owed=tuple(sorted(owed)))


def _policy(place: Place) -> Policy | None:
    return place.policy if place.deletes else None


def main() -> None:
    """Run as a child process: the task on stdin, events on stdout."""
    task, settings, writer = begin(PageTask)
    make(task.status, settings, writer)


if __name__ == "__main__":
    main()
    processes.leave()
