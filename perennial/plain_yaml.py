"""Read YAML that is plain data, with the line of every key; it knows no declaration.

Plain means keys, lists, texts, numbers, true, false and null, as in YAML 1.2's core schema: `on` and `no`
are texts. What a hostile file could do with more (tags that build objects, anchors that multiply, nesting
that exhausts the stack, a key said twice) is refused before anything is built of it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from perennial.errors import Permanent

Place = tuple[str | int, ...]
"""Where a value lies: keys and list indices from the top."""

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class NotPlain(Permanent):
    """The text is no plain YAML; `problems` are lines and what is wrong there."""

    def __init__(self, *problems: tuple[int, str]) -> None:
        super().__init__("; ".join(f"line {line}: {what}" for line, what in problems))
        self.problems = problems


@dataclass(frozen=True)
class Document:
    """Plain data and the line, from 1, of each of its places."""

    value: Any = None
    lines: dict[Place, int] = field(default_factory=dict)

    def line(self, place: Place) -> int:
        """Return the line of a place, or of the nearest part around it that the text has."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


class _Loader(_PARSER):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


for _tag, _form, _first in (
    ("null", r"null|Null|NULL|~|", "nN~"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]{1,18}", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_form})$"), [*_first])
_Loader.yaml_implicit_resolvers[""] = _Loader.yaml_implicit_resolvers["~"][:1]

_SCALARS: dict[str, Callable[[str], Any]] = {
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": float,
    "str": str,
}


def parse_yaml(data: bytes) -> Document:
    """Read the bytes of a YAML file.

    Raises:
        NotPlain: It is too large or deep, not UTF-8, not YAML, or more than plain data.
    """
    text = _text(data)
    try:
        problems = list(_events_beyond_plain(text))
        if problems:
            raise NotPlain(*problems)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise NotPlain(_syntax_problem(error, data)) from None
    lines: dict[Place, int] = {}
    value = _build(node, (), lines, problems) if node else None
    if problems:
        raise NotPlain(*problems)
    return Document(value, lines)


def _text(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise NotPlain((1, f"the file is larger than {MAX_BYTES:,} bytes"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotPlain((data.count(b"\n", 0, error.start) + 1, "the text is not UTF-8; save it as UTF-8")) from None


def _syntax_problem(error: yaml.YAMLError, data: bytes) -> tuple[int, str]:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    last = len(data.decode("utf-8-sig").splitlines())
    line = mark.line if mark else data.count(b"\n", 0, getattr(error, "position", 0) or 0)
    what = getattr(error, "problem", None) or getattr(error, "reason", error)
    return max(1, min(line + 1, last)), f"this is no YAML: {what}"


def _events_beyond_plain(text: str) -> Iterator[tuple[int, str]]:
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if documents > 1:
            yield line, "a second document begins; the file must hold one"
            return
        if depth > MAX_DEPTH:
            yield line, f"nested deeper than {MAX_DEPTH} levels"
            return
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            yield line, f"`{sign}{_short(event.anchor)}`: anchors and aliases are not read; write the value out"
        elif tag := getattr(event, "tag", None):
            yield line, f"`{_short(tag.replace('tag:yaml.org,2002:', '!!'))}`: tags are not read; write plain values"


def _build(node: yaml.Node, place: Place, lines: dict[Place, int], problems: list[tuple[int, str]]) -> Any:
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _build_mapping(node, place, lines, problems)
    if isinstance(node, yaml.SequenceNode):
        return [_build(one, (*place, number), lines, problems) for number, one in enumerate(node.value)]
    return _SCALARS[node.tag.rpartition(":")[2]](node.value)


def _build_mapping(
    node: yaml.MappingNode, place: Place, lines: dict[Place, int], problems: list[tuple[int, str]]
) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            problems.append((line, "a key must be a plain word; put quotes around a value with `{` or `[`"))
        elif key.value in built:
            first = lines[(*place, key.value)]
            problems.append((line, f"the key `{_short(key.value)}` is there twice, first in line {first}"))
        else:
            lines[(*place, key.value)] = line
            built[key.value] = _build(value, (*place, key.value), lines, problems)
    return built


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
