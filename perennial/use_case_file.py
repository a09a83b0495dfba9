"""Read `use_case.yaml` into a `UseCase`, with errors that name file, line and nearest key; it judges no data.

`python -m perennial.use_case_file` prints the JSON Schema of the file, by which editors complete and check it.
"""

import difflib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from perennial.errors import Permanent, nearest
from perennial.periods import InvalidPeriod
from perennial.plain_yaml import MAX_BYTES, Document, NotPlain, Place, parse_yaml
from perennial.source_spec import READERS
from perennial.use_case import UseCase, is_slug
from perennial.use_case_checks import contradictions

MAX_PROBLEMS = 10
_TEMPLATE = re.compile(r"\{\{|\{%")


class UnknownUseCase(Permanent):
    """No folder has that name."""


class InvalidUseCase(Permanent):
    """The file does not fit the declaration; `problems` has one line for each mistake, `path:line: what`."""

    def __init__(self, slug: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        shown, more = self.problems[:MAX_PROBLEMS], len(self.problems) - MAX_PROBLEMS
        rest = (f"... and {more} more.",) if more > 0 else ()
        count = "1 mistake" if len(self.problems) == 1 else f"{len(self.problems)} mistakes"
        super().__init__("\n".join((f"`{slug}` has {count} in its declaration:", *shown, *rest)))


def use_case_slugs(root: Path) -> list[str]:
    """Return the slugs of all use cases below a folder, sorted."""
    return sorted(path.parent.name for path in root.glob("*/use_case.yaml") if is_slug(path.parent.name))


def load_use_case(root: Path, slug: str) -> UseCase:
    """Read and check the declaration of one use case.

    Args:
        root: Folder with one folder per use case.
        slug: Name of its folder. Its form is checked before the disk is touched.

    Raises:
        UnknownUseCase: The slug is none, or no folder has that name.
        InvalidUseCase: The file is no plain YAML, does not fit the declaration, or contradicts itself.
    """
    if not is_slug(slug):
        raise UnknownUseCase(
            f"{slug[:60]!r} is no name of a use case: expected lower-case letters, digits and single dashes, "
            f"as in `my-model`, at most 53 characters."
        )
    path = root / slug / "use_case.yaml"
    if not path.is_file():
        known = use_case_slugs(root)
        names = ", ".join(f"`{name}`" for name in known) or "none yet"
        raise UnknownUseCase(f"`{slug}` is no use case{nearest(slug, known)}\nBelow `{root}` there are: {names}.")
    try:
        document = parse_yaml(_read(path))
        use_case = _validated(document)
        use_case.__pydantic_private__.update(_slug=slug, _folder=path.parent)  # type: ignore[union-attr]
        problems = [(document.line(place), what) for place, what in contradictions(use_case, root)]
    except NotPlain as error:
        problems = list(error.problems)
    if problems:
        raise InvalidUseCase(slug, (f"{path}:{line}: {what}" for line, what in sorted(problems)))
    return use_case


def use_case_schema() -> str:
    """Return the JSON Schema of the file as text."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **UseCase.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise NotPlain((1, f"the file cannot be read: {error.strerror}")) from None


def _validated(document: Document) -> UseCase:
    problems = [(document.line(place), what) for place, what in _templates(document.value, ())]
    if not isinstance(document.value, dict):
        problems.append((1, "the file must consist of keys, beginning with `title: ...`"))
    if problems:
        raise NotPlain(*problems)
    try:
        return UseCase.model_validate(document.value)
    except ValidationError as error:
        raise NotPlain(*_explained(error, document)) from None
    except InvalidPeriod as error:
        raise NotPlain((document.line(("starts",)), f"`starts`: {error}")) from None


def _templates(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    if isinstance(value, str) and _TEMPLATE.search(value):
        yield place, f"{_name(place)} holds a template; the file is plain data, write the value"
    elif isinstance(value, dict | list):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _templates(inner, (*place, step))


def _explained(error: ValidationError, document: Document) -> list[tuple[int, str]]:
    found: dict[Place, list[Any]] = {}
    for one in error.errors(include_url=False):
        place = _place(one["loc"], document)
        found.setdefault((*place, one["loc"][-1]) if one["type"] == "missing" else place, []).append(one)
    misspelt = {(*place[:-1], key) for place, errors in found.items() for key in _meant(errors[0])}
    return [
        (document.line(_pointed_at(place, errors[0])), _sentence(place, errors))
        for place, errors in found.items()
        if errors[0]["type"] != "missing" or place not in misspelt
    ]


def _pointed_at(place: Place, error: Any) -> Place:
    named = re.match(r"Value error, `([\w.]+)`", error["msg"])
    return (*place, *named[1].split(".")) if named else place


def _meant(error: Any) -> list[str]:
    if error["type"] != "extra_forbidden":
        return []
    return difflib.get_close_matches(str(error["loc"][-1]), _keys_of(error["loc"][:-1]), n=1)


def _place(loc: tuple[str | int, ...], document: Document) -> Place:
    place: Place = ()
    for step in loc:
        if (*place, step) in document.lines:
            place = (*place, step)
    return place


def _sentence(place: Place, errors: list[Any]) -> str:
    first = errors[0]
    if first["type"] == "missing":
        return f"{_name(place[:-1])} lacks the key `{place[-1]}`"
    if first["type"] == "extra_forbidden":
        keys = _keys_of(first["loc"][:-1])
        hint = nearest(str(place[-1]), keys) or f"; it knows {', '.join(f'`{key}`' for key in keys)}"
        return f"`{place[-1]}` is no key of {_name(place[:-1])}{hint}"
    if first["type"] == "value_error":
        return f"{_name(place)}: {first['ctx']['error']}" if place else str(first["ctx"]["error"])
    expected = " or ".join(dict.fromkeys(_expected(one) for one in errors))
    return f"{_name(place)} must {expected}{_given(first, place)}"


_EXPECTED = {
    "string_type": "be a text (in quotes if it looks like a number)",
    "bool_type": "be `true` or `false`",
    "int_type": "be a whole number",
    "float_type": "be a number",
    "tuple_type": "be a list",
    "dict_type": "be a section of keys",
    "model_type": "be a section of keys",
    "finite_number": "be a finite number",
}


def _expected(error: Any) -> str:
    words = _EXPECTED.get(error["type"]) or str(error["msg"])
    return re.sub(r"^(\w+ should|must) ", "", words).replace("'", "`")


def _given(error: Any, place: Place) -> str:
    value = error["input"]
    if error["type"] == "read" and isinstance(value, dict):
        return next(filter(None, (nearest(key, READERS) for key in value)), "")
    if "read" in place or not isinstance(value, str | int | float) or f"`{value}`" in error["msg"]:
        return ""
    allowed = re.findall(r"'([^']*)'", error.get("ctx", {}).get("expected", ""))
    return f", got `{' '.join(str(value).split())[:60]}`{nearest(str(value), allowed)}"


def _name(place: Place) -> str:
    return f"`{'.'.join(map(str, place))}`" if place else "the file"


def _keys_of(loc: tuple[str | int, ...]) -> list[str]:
    kind: Any = UseCase
    for step in loc:
        kind = _inside(kind, step)
    return list(kind.model_fields)


def _inside(kind: Any, step: str | int) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _without_none(kind.model_fields[str(step)].annotation)
    if get_origin(kind) in (Union, UnionType):
        return next(one for one in map(_bare, get_args(kind)) if one.__name__ == step)
    return _bare(get_args(kind)[-1])


def _without_none(kind: Any) -> Any:
    kinds = [one for one in get_args(kind) if one is not type(None)]
    return kinds[0] if get_origin(kind) in (Union, UnionType) and len(kinds) == 1 else kind


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


if __name__ == "__main__":
    sys.stdout.write(use_case_schema())
