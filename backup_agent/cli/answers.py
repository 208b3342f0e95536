"""Answers as text for people: for `request --wait`, `show` and the demo.

The error of an answer repeats the errors of its databases, and an error may contain the last lines of neo4j-admin's
output. The short form therefore has only the first line of each error, and the command that shows the rest.
"""

from collections.abc import Iterator
from typing import Any

from backup_agent.cli import printing
from backup_agent.core.escaping import first_few, shell_word
from backup_agent.core.reasons import Reason
from backup_agent.core.requests.answers import Answer, DatabaseResult, NotRead, Outcome, PlaceResult, State

SHORT = 360.0
"""Durations of fewer seconds are shown as "a few minutes"."""

COUNTED_ONLY = (NotRead.NOT_DUE, NotRead.NOT_REACHED)
"""Reasons that are not faults. Artifacts that were not read for these reasons are counted, but not listed."""

_MARKED = {"hold": "held; artifacts taken later are not held", "release": "released"}
"""Action -> what it did to the artifacts that it selected."""


def lines(answer: Answer, *, whole: bool = False) -> list[str]:
    """Return an answer as lines of text: with every line of each error if `whole`, else with the first line."""
    text = [f"{answer.id}: {_with_reason(answer.state.value, answer.reason)}"]
    for name, result in answer.databases.items():
        text += [f"  {line}" for line in _database(name, result, whole=whole)]
    text += [f"  not backed up: {name} {why}" for name, why in answer.excluded.items()]
    for name, place in answer.places.items():
        text += [f"  {line}" for line in _place(name, place, answer.action)]
    text += [f"  WARNING: {warning}" for warning in answer.warnings]
    # The error of an answer repeats what is wrong at its databases and places, so it is left out if that was printed.
    repeated = bool(answer.warnings) or any(result.error or result.warnings for result in answer.databases.values())
    if answer.state is State.SUCCEEDED_WITH_WARNINGS:
        repeated = repeated or any(place.verified is not None for place in answer.places.values())
    if answer.error and not repeated:
        text += [f"  {line}" for line in answer.error.splitlines()]
    if answer.set_note:
        text.append(f"  set {answer.set}: {answer.set_note}")
    if answer.hint:
        text.append(f"  HINT: {answer.hint}")
    if not whole and any("\n" in (result.error or "") for result in answer.databases.values()):
        text.append(f"  The whole error: backup-agent show {shell_word(answer.id)}")
    return text


def stage(answer: Answer) -> str:
    """Return the state of a request, its position in the queue and what is before it, and its stage."""
    words = [answer.state.value]
    if answer.position:
        words.append(f"position {answer.position}" + f", behind {answer.behind}" * (answer.behind is not None))
    if answer.waits_for:
        words.append(f"(waits for {answer.waits_for})")
    if answer.stage:
        words += [str((answer.progress or {}).get("database", "")), answer.stage, _ahead(answer.progress or {})]
    return " ".join(word for word in words if word)


def progress(answer: Answer) -> str:
    """Return the progress of the stage, or an empty string if none is known."""
    facts = answer.progress or {}
    if "copies" in facts:
        sent = f", {printing.size(facts['bytes'])} of the next sent" if "bytes" in facts else ""
        return f"{facts['copies']} of {facts['of']} copies{sent}"
    if "bytes" not in facts:
        return ""
    total = f" of {printing.size(facts['total'])}" if "total" in facts else ""
    read = f"{facts['read']} of {facts['artifacts']} artifacts, " if "artifacts" in facts else ""
    left = "" if read else printing.time_left(facts.get("estimated_seconds"))
    return read + printing.size(facts["bytes"]) + total + left


def _ahead(facts: dict[str, Any]) -> str:
    """Return how much a verification in slices has still to read, and the estimated time; "" for other requests."""
    if "artifacts" not in facts:
        return ""
    seconds = facts.get("estimated_seconds")
    if seconds is None:
        wait = "an unknown time"
    else:
        wait = "a few minutes at most" if seconds < SHORT else f"about {seconds / 3600:.1f} h"
    artifacts = printing.counted(facts["artifacts"], "artifact", "artifacts")
    return f"({artifacts}, {printing.size(facts['total'])}, {wait}; backups come first)"


def _with_reason(state: str, reason: Reason | None) -> str:
    return f"{state} ({reason.value})" if reason and reason.value != state else state


def _place(name: str, result: PlaceResult, action: str) -> Iterator[str]:
    """Yield the lines for one place: copies given up, retention, holds or verification, whichever the request did."""
    if result.dropped is not None:
        yield f"{name}: {printing.counted(result.dropped, 'missing copy', 'missing copies')} given up"
    if result.plan is not None:
        yield f"{name}: {_planned(result)}"
        yield from (f"  {one.key}, {printing.size(one.size)}: {one.reason}" for one in result.deletions)
        if result.more_deletions:
            yield f"  and {result.more_deletions} more: backup-agent history --kind deleted --plan {result.plan}"
    if result.marked is not None:
        changed = printing.counted(result.marked, "artifact", "artifacts")
        yield f"{name}: {changed} matched and {_MARKED.get(action, action)}"
        yield from (f"  {key}" for key in result.marked_keys)
        yield from (f"  WARNING: {warning}" for warning in result.warnings)
    if result.drills:
        yield f"{name}: {printing.counted(len(result.drills), 'artifact', 'artifacts')} drilled"
        yield from (f"  {outcome.value}: {key}" for key, outcome in result.drills.items())
    if result.verified is not None:
        words = [f"{result.verified} read again and undamaged"]
        words += [f"{len(result.damaged)} damaged"] if result.damaged else []
        words += [f"{len(result.healed)} healed"] if result.healed else []
        if result.artifacts is not None:
            total = f"{result.read} of {printing.counted(result.artifacts, 'artifact', 'artifacts')}"
            words.append(
                f"{total} and {printing.size(result.read_size or 0)} of {printing.size(result.size or 0)} done"
            )
        yield f"{name}: {', '.join(words)}"
        yield from (f"  healed: {key}" for key in result.healed)
        for one in result.not_read:
            known = f", {printing.size(one.size)}" if one.size else ""
            keys = "" if one.why in COUNTED_ONLY else ": " + first_few(one.keys, one.artifacts)
            yield f"  not read, {one.why.value.replace('_', ' ')}: {one.artifacts}{known}{keys}"
        yield from (f"  WARNING: {warning}" for warning in result.warnings)


def _planned(result: PlaceResult) -> str:
    kept = f"{printing.counted(result.kept or 0, 'artifact', 'artifacts')} kept, plan {result.plan}"
    if result.deleted is not None:
        old = f", {printing.size(result.kept_versions)} stay as old versions" if result.kept_versions else ""
        return f"{result.deleted} deleted, {printing.size(result.freed or 0)} freed{old}; {kept}"
    deletions = len(result.deletions) + (result.more_deletions or 0)
    return f"{deletions} would be deleted; {kept}" if deletions else f"nothing to delete; {kept}"


def _database(name: str, result: DatabaseResult, *, whole: bool) -> Iterator[str]:
    words = [f"{name}:"]
    if result.outcome is not Outcome.SUCCEEDED:
        words.append(_with_reason(result.outcome.value, result.reason))
    if result.artifact:
        words += [f"{result.type} ({result.type_reason}),", f"{printing.size(result.size or 0)},", result.artifact]
    yield " ".join(words) + "".join(f", {place}: {state}" for place, state in result.copies.items())
    error = (result.error or "").splitlines()
    for line in error if whole else error[:1]:
        yield f"  {line}"
    for warning in result.warnings:
        yield f"  WARNING: {warning}"
