"""The changes of an answer, each as one line of JSON, so that a long one need not be written again for each of them."""

import json

from backup_agent.core.artifacts.records import few_values
from backup_agent.core.json_reader import read_json
from backup_agent.core.requests.answers import MOST_VALUES, Answer


def changes_of(before: Answer, after: Answer) -> bytes:
    """Return a line with the fields that differ, and of `databases` only the results that are other objects.

    A field that was removed is null. `after` has all databases of `before`.
    """
    names = [name for name in Answer.model_fields if getattr(before, name) != getattr(after, name)]
    results = {name: result for name, result in after.databases.items() if before.databases.get(name) is not result}
    changed = after.model_copy(update={"databases": results})
    content = changed.model_dump(mode="json", include=set(names), exclude_none=True)
    return json.dumps({**dict.fromkeys(names), **content}).encode() + b"\n"


def with_changes(entry: bytes, lines: bytes) -> bytes:
    """Return the stored form of an answer after the changes in `lines`. Raise ValueError if `entry` is invalid.

    A line that was not written completely is skipped: its change was not confirmed.
    """
    merged = read_json(few_values(entry, MOST_VALUES))
    for line in few_values(lines, MOST_VALUES).splitlines():
        try:
            change = read_json(line)
            databases = {**merged.get("databases", {}), **change.get("databases", {})}
            merged |= {**change, "databases": databases}
        except (ValueError, TypeError, AttributeError):
            continue
    return json.dumps({name: value for name, value in merged.items() if value is not None}).encode()
