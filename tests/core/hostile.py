"""Texts with a special meaning to a shell, to Cypher, in a path or to a terminal."""

from hypothesis import strategies as st

CANARY = "canary"
"""A command that no printed line may run."""

PIECES = [
    f"$({CANARY})",
    f"`{CANARY}`",
    f"'; {CANARY}; '",
    f'"; {CANARY}; "',
    f"\n{CANARY}\n",
    f"\r{CANARY}",
    f"&& {CANARY}",
    f"| {CANARY}",
    f"'$({CANARY})'",
    "${IFS}",
    "$FOLDER",
    "--option",
    "-",
    "../..",
    "/",
    "*",
    "~",
    "#",
    "!",
    "%s",
    "\\",
    "\\u0060; DROP DATABASE neo4j; ",
    "\\\\u0027",
    "\\u005cu0060",
    "u0060",
    "`; DROP DATABASE neo4j; ",
    "'}); DROP DATABASE neo4j; //",
    "'",
    '"',
    "`",
    "\x1b[2K",
    "\u202e",
    "\u200b",
    "é",
    "orders",
    " ",
]

TEXTS = (
    st.lists(
        st.sampled_from(PIECES)
        | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3),
        min_size=1,
        max_size=5,
    )
    .map("".join)
    .filter(bool)
)
NAMES = TEXTS.map(lambda text: text.replace("\\", "/"))
"""Like `TEXTS`, but without backslashes, which a name in Cypher cannot contain."""
