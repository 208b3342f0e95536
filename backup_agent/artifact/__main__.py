"""`python -m backup_agent.artifact FILE`: print the facts of an artifact as JSON. It needs no agent."""

import argparse
import json
import sys
from pathlib import Path

from backup_agent.artifact.header import read_header
from backup_agent.artifact.reading import read_through
from backup_agent.core.reasons import BackupError


def main(arguments: list[str]) -> None:
    """Print the facts, or exit with the error's text and code 1."""
    parser = argparse.ArgumentParser(prog="python -m backup_agent.artifact", description=__doc__)
    parser.add_argument("file", type=Path, help="a .backup file; for a split artifact, its manifest")
    parser.add_argument("--header", action="store_true", help="read only the header, not the whole artifact")
    asked = parser.parse_args(arguments)
    try:
        facts = _header(asked.file) if asked.header else _reading(asked.file)
    except BackupError as error:
        parser.exit(1, f"{error.failure.reason}: {error.failure.error}\nHINT: {error.failure.advice}\n")
    sys.stdout.write(json.dumps(facts, indent=2) + "\n")


def _header(path: Path) -> dict[str, object]:
    return {"header": read_header(path).model_dump(mode="json")}


def _reading(path: Path) -> dict[str, object]:
    reading = read_through(path)
    return {
        "header": reading.header.model_dump(mode="json"),
        "files": [file.model_dump(mode="json", include={"name", "size", "sha256"}) for file in reading.files],
        "raw_size": reading.raw_size,
        "problems": list(reading.problems),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
