"""Reading YAML as if it were JSON: no dates, no tags, no duplicate keys, and a bounded size and depth.

A YAML parser would read `2026-01-01` as a date, and silently use the second of two equal keys. Aliases and merge keys
let a few hundred bytes expand to billions of values, so each alias counts as much as the value that it names.
"""

import json
import re
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from backup_agent.core.json_reader import DEEPEST, NestingError, read_json

PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser. If PyYAML was built without libyaml: its own parser, which is four times slower."""

LARGEST = 256 * 1024
"""Largest size of a document, in bytes."""

VALUE = 12
"""Weight of a value in bytes, in addition to its text. An alias weighs as much as the value that it names."""

MOST = 256 * 1024
"""Largest weight of all values together, in bytes."""

LONGEST_NUMBER = 64

TEXT, MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


_QUOTED = re.compile(r"""('<[a-z ]+>'|'[^'"]{1,3}')|['"].*""", re.DOTALL)
"""Quoted words in a parser's message. The group captures words of the parser itself; others may be from the file."""


class YamlError(Exception):
    """The document is not valid, or has values without a JSON form.

    The message has the position in the document, but quotes none of its text, which may be a secret.
    """


def read_yaml(content: bytes) -> Any:  # noqa: ANN401  any JSON value
    """Return the value of a YAML document. Raise YamlError if JSON cannot express the value, or a limit is exceeded."""
    if len(content) > LARGEST:
        raise YamlError(f"expected at most {LARGEST} bytes (got {len(content)})")
    try:
        return read_json(json.dumps(_Loader(content).get_single_data()).encode())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        # A quoted word may be from the file (an alias, a tag); `<block end>` and single characters are the parser's.
        problem = _QUOTED.sub(lambda found: found[1] or "(not shown)", error.problem or "not YAML")
        raise YamlError(f"{place}{problem}") from None
    except yaml.reader.ReaderError as error:
        raise YamlError(f"position {error.position}: not text in UTF-8") from None
    except NestingError as error:  # aliases of aliases can nest deeper than the text
        raise YamlError(str(error)) from None
    except (TypeError, ValueError):  # sets, binary, text tagged as a number
        raise YamlError("expected only text, numbers, lists and mappings") from None


class _Events:
    """The parser's events, one by one. The document is refused at the first event beyond a limit.

    PyYAML's composer and constructor work on these events, so neither builds more than the limits allow.
    """

    def __init__(self, content: bytes) -> None:
        self._parser = PARSER(content)
        self.check_event = self._parser.check_event
        self.peek_event = self._parser.peek_event
        self._open: list[tuple[str | None, int]] = []
        """Lists and mappings that are not closed yet: their anchor, and the weight of everything before them."""
        self._weight = 0
        self._weights: dict[str, int] = {}
        """Anchor -> weight of its value."""

    def get_event(self) -> yaml.Event:
        """Return the next event; raise MarkedYAMLError if it makes the document too deep or too heavy."""
        event: yaml.Event = self._parser.get_event()
        match event:
            case yaml.AliasEvent():
                if any(anchor == event.anchor for anchor, _ in self._open):
                    raise _refusal(event, "an alias within the value that it names")
                self._add(event, self._weights.get(event.anchor or "", VALUE))
            case yaml.ScalarEvent():
                before = self._weight
                self._add(event, VALUE + len(event.value))
                self._keep(event.anchor, before)
            case yaml.CollectionStartEvent():
                if len(self._open) >= DEEPEST:
                    raise _refusal(event, str(NestingError()))
                self._open.append((event.anchor, self._weight))
                self._add(event, VALUE)
            case yaml.CollectionEndEvent():
                self._keep(*self._open.pop())
        return event

    def _add(self, event: yaml.Event, weight: int) -> None:
        self._weight += weight
        if self._weight > MOST:
            raise _refusal(
                event, f"more than {MOST} bytes, if each value counts {VALUE} more bytes and aliases count again"
            )

    def _keep(self, anchor: str | None, before: int) -> None:
        if anchor is not None:
            self._weights[anchor] = self._weight - before


class _Loader(_Events, Composer, SafeConstructor, Resolver):
    """A loader of YAML without dates and without duplicate keys."""

    def __init__(self, content: bytes) -> None:
        _Events.__init__(self, content)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:  # noqa: ANN401  an anchor or None
        """Compose a scalar; refuse a number so long that reading it takes seconds."""
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)
        if node.tag in NUMBERS and len(node.value) > LONGEST_NUMBER:
            raise _refusal(node, f"a number of more than {LONGEST_NUMBER} characters: put text in quotes")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401  an anchor or None
        """Compose a mapping; refuse keys that are not text, and duplicate keys."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if key.tag not in {TEXT, MERGE}:
                raise _refusal(key, "a key that is not text: put it in quotes")
            if key.value in seen:
                raise _refusal(key, "a key that this section already has")
            seen.add(key.value)
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, shape) for tag, shape in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _refusal(what: yaml.Event | yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    mark: Any = what.start_mark
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
