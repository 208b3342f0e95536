"""Fetch all components of the tests: `python -m tests.components.fetch`.

If a component cannot be fetched and $CI is set, the exit code is 1. Without $CI, the tests that need it are skipped.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial

from tests.components.cache import MissingComponentError, cache_folder
from tests.components.chromium import chromium
from tests.components.java import compiler_jars
from tests.components.neo4j_community import jars
from tests.components.pins import NEO4J_VERSIONS
from tests.components.prometheus import promtool


def main() -> int:
    """Fetch everything and print each step. Return the exit code."""
    _say(f"components are kept in {cache_folder()}")
    steps: dict[str, Callable[[], object]] = {
        "Prometheus": lambda: promtool("--version"),
        "Chromium": chromium,
        "Java compiler": compiler_jars,
        **{f"Neo4j Community {version}": partial(jars, version) for version in NEO4J_VERSIONS},
    }
    missing = 0
    for name, step in steps.items():
        started = time.monotonic()
        try:
            step()
        except MissingComponentError as error:
            missing += 1
            _say(f"{name}: {error}")
        else:
            _say(f"{name}: here ({time.monotonic() - started:.1f} s)")
    return 1 if missing and os.environ.get("CI") else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
