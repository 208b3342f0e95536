"""The supervisor: small, long-lived, owns all state. Its children alone import the libraries of Neo4j and of stores."""

import sys

# structlog imports rich wherever it is, for tracebacks that nobody sees here: 3.5 MiB, and a quarter of the start.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None is how an import is refused
