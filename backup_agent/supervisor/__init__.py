"""The supervisor: the small, long-lived process that owns all state. Only its children import drivers and clients."""

import sys

# structlog imports rich if rich is installed. The agent never uses rich: 3.5 MiB, and a quarter of the start's time.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None makes the import fail
