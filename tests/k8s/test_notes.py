"""What render tells beside the objects."""

import pytest

from backup_agent.k8s.notes import notes
from tests.k8s.specs import SMALLEST, parsed


@pytest.mark.parametrize(
    ("memory", "settings", "said"),
    [
        pytest.param("256Mi", "{}", None, id="the-smallest-profile"),
        pytest.param("1Gi", "{limits: {parallel: 4}}", None, id="as-small-for-each"),
        pytest.param(
            "256Mi", "{limits: {parallel: 2}}", "is less than 256Mi for each of the 2 at once", id="two-in-one"
        ),
        pytest.param("1Gi", "{neo4j: {heap: 512MiB, pagecache: 256MiB}}", None, id="by-hand"),
        pytest.param("1Gi", "{neo4j: {heap: 1GiB}}", "do not fit into backup.memory, 1Gi", id="a-heap-too-large"),
        pytest.param("1Gi", "{neo4j: {heap: 512MiB}, limits: {parallel: 2}}", "do not fit", id="two-heaps-too-large"),
    ],
)
def test_too_little_memory_is_noted(memory: str, settings: str, said: str | None) -> None:
    found = notes(parsed(f"{SMALLEST}  memory: {memory}\n  settings: {settings}\n"))
    told = [note for note in found if "backup.memory" in note]

    assert len(told) == (said is not None)
    assert said is None or said in told[0]
