"""What a signature covers: the canonical JSON (RFC 8785) of a document, with its kind, its cluster and its key.

The document is decoded from its stored bytes, so keys that only a newer agent knows are covered as well. The field
`signature` is left out. Kind, cluster and key are signed too, so the signature of a hold is not valid for a record, and
the signature of one artifact or cluster is not valid for another.
"""

from typing import Any

from backup_agent.core.artifacts.records import few_values
from backup_agent.core.json_reader import read_json

FIELD = "signature"


def message(kind: str, cluster: str, key: str, content: bytes) -> bytes:
    """Return the bytes to sign for a document, given as it is stored.

    Raise ValueError if it is not a JSON object, repeats a key, or has a number that RFC 8785 cannot express: an integer
    beyond 2^53, infinity, or NaN.
    """
    import rfc8785  # noqa: PLC0415  needed only to sign and to verify

    document = decoded(content)
    document.pop(FIELD, None)
    return rfc8785.dumps({"cluster": cluster, "document": document, "key": key, "kind": kind})


def decoded(content: bytes) -> dict[str, Any]:
    """Return a document as a mapping; raise ValueError if it is not a JSON object, or repeats a key."""
    document = read_json(few_values(content), _each_key_once)
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  callers expect one kind of error
    return document


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # JSON readers differ in which of two equal keys they use. A reader could use a value that was not signed.
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is repeated")
    return found
