"""Reads the header of an artifact by `neo4j-admin backup inspect`, if the agent's reader does not know the format.

Cells are found by column name, since versions have added columns (RECOVERED in 2025.06) and removed others (STORE ID
HASH). The table has no store id, so only database id and transactions decide which chain such an artifact continues.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit
from uuid import UUID

from backup_agent.core.artifacts.records import Header
from backup_agent.core.capabilities import Capabilities
from backup_agent.core.neo4j.command import Memory, inspect_argv
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.neo4j_admin import process
from backup_agent.neo4j_admin.program import AdminProgram

_INSPECTING = timedelta(minutes=5)
_ROWS = 1000


def inspect(
    artifact: Path,
    magic: str,
    program: AdminProgram,
    capabilities: Capabilities,
    memory: Memory,
    *,
    env: Mapping[str, str],
    cancel: threading.Event,
) -> Header:
    """Return the header that neo4j-admin reads; raise PermanentError (bad_artifact) if it cannot read one."""
    rows: list[str] = []

    def hear(line: str) -> None:
        if line.lstrip().startswith("|") and len(rows) < _ROWS:
            rows.append(line)

    completed = process.run(
        inspect_argv(program.argv(memory), capabilities, str(artifact)),
        env=env,
        cwd=artifact.parent,
        timeout=_INSPECTING,
        cancel=cancel,
        on_line=hear,
    )
    for row in table(rows):
        if PurePosixPath(unquote(urlsplit(row.get("FILE", "")).path)).name == artifact.name:
            try:
                return _header(row, magic)
            except (KeyError, ValueError) as error:
                raise PermanentError(
                    Reason.BAD_ARTIFACT, f"{artifact.name}: neo4j-admin's table cannot be read: {error!r} in {row}"
                ) from error
    raise PermanentError(
        Reason.BAD_ARTIFACT,
        "\n".join((f"{artifact.name}: neo4j-admin cannot read it either", *completed.last_lines)),
    )


def table(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a table as mappings from column name to cell."""
    names: list[str] | None = None
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if names is None:
            # Older versions write TIME without the zone.
            names = ["TIME" if cell == "TIME (UTC)" else cell for cell in cells]
        elif len(cells) == len(names):
            yield dict(zip(names, cells, strict=True))


def _header(row: Mapping[str, str], magic: str) -> Header:
    full = _truth(row["FULL"])
    return Header(
        magic=magic,
        database=row["DATABASE"],
        database_id=UUID(row["DATABASE ID"]),
        store_id="",
        taken=datetime.fromisoformat(row["TIME"]).replace(tzinfo=UTC),
        lowest=int(row["LOWEST TX"]),
        highest=int(row["HIGHEST TX"]),
        full=full,
        compressed=_truth(row["COMPRESSED"]),
        recovered=_truth(row["RECOVERED"]) if "RECOVERED" in row else full,
    )


def _truth(cell: str) -> bool:
    if cell not in {"true", "false"}:
        raise ValueError(f"expected true or false (got {cell!r})")
    return cell == "true"
