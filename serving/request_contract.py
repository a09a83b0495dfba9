"""The contract of the entity's source as the contract of requests: raw bytes or plain values to checked rows.

A compiled msgspec decoder takes what is right the first time; whatever it refuses is read again field by field, which
either finds it right after all (`3.0` for an integer) or says what is wrong. What is not declared is refused or ignored
as in a delivery. Declared `values` are no limit here: a new category is served and counted, since the model treats it
as missing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import msgspec
import orjson

from perennial.data.views import hidden_columns
from perennial.errors import nearest
from perennial.use_case import UseCase
from serving.fields import Field, Unreadable, read_time
from serving.messages import Row
from serving.problems import MAX_PROBLEMS, Problem, Refused, given, invalid, malformed

MOST_PER_KEY = 50
"""Different rows of one key in a request: a query may join on the key, so that each takes a pass of its own."""
_BOM = b"\xef\xbb\xbf"
Item = TypeVar("Item")
_UNREAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Unreadable)


class RequestContract:
    """What a request's rows must hold: the entity's declared columns but those that the label is made of."""

    def __init__(self, use_case: UseCase, max_rows: int) -> None:
        source, hidden = use_case.sources[use_case.entity], hidden_columns(use_case)
        required = {*source.key, source.event_time, source.known_at}
        self.max_rows = max_rows
        self.key = use_case.key
        self.is_closed = source.unexpected_columns == "refuse"
        self.fields = {
            name: Field(name, column, is_nullable=column.nullable and name not in required)
            for name, column in source.columns.items()
            if name not in hidden
        }
        self._names = tuple(self.fields)
        self._times = tuple(name for name, one in self.fields.items() if one.column.type == "timestamp")
        self._numbers = tuple(name for name, one in self.fields.items() if one.column.type == "number")
        self._categories = {
            name: frozenset(one.column.values) for name, one in self.fields.items() if one.column.values is not None
        }
        self._struct = _struct(self.fields, self.is_closed)
        self._one = msgspec.json.Decoder(self._struct)
        self._many: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            msgspec.defstruct("Rows", [("rows", list[self._struct])], forbid_unknown_fields=True)  # type: ignore[name-defined]
        )

    def decode(self, body: bytes) -> tuple[list[Row], bool]:
        """Read `{"rows": [...]}` or a single row, and say whether it was the single row.

        Of a name that comes twice in an object the last value counts, as in most readers of JSON.

        Raises:
            Refused: It is no JSON (400), holds too many rows, or a field is wrong (422).
        """
        body = body.removeprefix(_BOM)
        is_single = b'"rows"' not in body
        try:
            if is_single:
                return [self._finished(self._one.decode(body))], True
            return [self._finished(one) for one in self.require_count(self._many.decode(body).rows)], False
        except _UNREAD:
            return self._read_slowly(parse_json(body))

    def read(self, rows: Sequence[Any]) -> list[Row]:
        """Check rows of plain JSON values.

        Raises:
            Refused: As for `decode`.
        """
        self.require_count(rows)
        try:
            return [self._finished(one) for one in msgspec.convert(rows, list[self._struct])]  # type: ignore[name-defined]
        except _UNREAD:
            return self._read_each(rows, is_text=False)

    def read_columns(self, columns: Mapping[str, Sequence[Any]]) -> list[Row]:
        """Check rows whose plain JSON values come by column, all of one length.

        Of columns that are no fields only as many become part of the rows as are told: a small body can name thousands.
        """
        self.require_count(next(iter(columns.values()), ()))
        others = islice((one for one in columns if one not in self.fields), MAX_PROBLEMS)
        names = [*(one for one in columns if one in self.fields), *others]
        values = zip(*(columns[one] for one in names), strict=True)
        return self.read([dict(zip(names, one, strict=True)) for one in values])

    def read_texts(self, rows: Sequence[Mapping[str, str]]) -> list[Row]:
        """Check rows of which every value is text."""
        return self._read_each(self.require_count(rows), is_text=True)

    def require_count(self, rows: Sequence[Item]) -> Sequence[Item]:
        """Return rows, or one value for each, refused where there are none (400) or too many (422)."""
        if not rows:
            raise malformed("The request has no rows, expected at least one.")
        if len(rows) > self.max_rows:
            raise Refused(422, "rows", f"The request has {len(rows)} rows, expected at most {self.max_rows}. Split it.")
        return rows

    def unknown_categories(self, rows: Sequence[Row]) -> Mapping[str, int]:
        """Count by column the values that its declaration does not list."""
        unknown = [
            name
            for name, known in self._categories.items()
            for row in rows
            if row[name] not in known and row[name] is not None
        ]
        return Counter(unknown) if unknown else {}

    def require_few_per_key(self, rows: Sequence[Row], keys: Sequence[str]) -> None:
        """Refuse (422) a request that would keep the scoring thread busy with one key."""
        if len(rows) <= MOST_PER_KEY or len(set(keys)) == len(rows):
            return
        different = {(key, *row.values()) for key, row in zip(keys, rows, strict=True)}
        (key, count), *_ = Counter(key for key, *_ in different).most_common(1)
        if count > MOST_PER_KEY:
            raise Refused(
                422,
                "rows",
                f"The request has {count} different rows with the key {given(orjson.loads(key))}, expected at most "
                f"{MOST_PER_KEY}. Split it.",
            )

    def canonical_key(self, row: Row) -> str:
        """Write the key columns as JSON with sorted names."""
        return orjson.dumps({name: row[name] for name in self.key}, option=orjson.OPT_SORT_KEYS).decode()

    def _finished(self, struct: msgspec.Struct) -> Row:
        row = dict(zip(self._names, msgspec.structs.astuple(struct), strict=True))
        for name in self._times:
            if row[name] is not None:
                row[name] = read_time(row[name])
        for name in self._numbers:
            if row[name] == 0:
                row[name] = 0.0  # no -0.0
        return row

    def _read_slowly(self, content: Any) -> tuple[list[Row], bool]:
        if not isinstance(content, dict):
            raise malformed('The body is no JSON object. Expected one row, or {"rows": [...]} with one object per row.')
        if not isinstance(content.get("rows"), list):
            return self._read_each([content], is_text=False), True
        if extra := [name for name in content if name != "rows"]:
            raise malformed(f"`{extra[0][:80]}` stands beside `rows`, expected `rows` alone.")
        return self._read_each(self.require_count(content["rows"]), is_text=False), False

    def _read_each(self, rows: Sequence[Any], *, is_text: bool) -> list[Row]:
        problems: list[Problem] = []
        read = []
        for number, row in enumerate(rows):
            read.append(self._read_row(number, row, problems, is_text=is_text))
            if len(problems) >= MAX_PROBLEMS:
                break
        if problems:
            raise invalid(problems)
        return read

    def _read_row(self, number: int, row: Any, problems: list[Problem], *, is_text: bool) -> Row:
        if not isinstance(row, dict):
            raise malformed(f"Row {number} is {given(row)}, expected an object with one field per column.")
        unknown = (one for one in row if self.is_closed and one not in self.fields)
        for name in islice(unknown, MAX_PROBLEMS):
            expected = f"no such field{nearest(str(name)[:80], self.fields)}"
            problems.append(Problem(number, str(name)[:80], given(row[name]), expected))
        read: Row = {}
        for name, one in self.fields.items():
            value = row.get(name)
            try:
                read[name] = one.read_text(value) if is_text and value is not None else one.read(value)
            except Unreadable:
                came = given(value) if name in row else "nothing"
                problems.append(Problem(number, name, came, one.expected))
        return read


def parse_json(body: bytes) -> Any:
    """Read JSON of any form, in UTF-8 with or without a byte order mark.

    Raises:
        Refused: It is none: also UTF-16, NaN, lone surrogates, and what is nested too deeply.
    """
    try:
        return orjson.loads(body.removeprefix(_BOM))
    except orjson.JSONDecodeError as error:
        raise malformed(f"The body is no JSON in UTF-8: {error}.") from None


def _struct(fields: Mapping[str, Field], is_closed: bool) -> type[msgspec.Struct]:
    """Name the attributes by number, since a column may be called like a keyword of Python."""
    attributes = {f"c{place}": one for place, one in enumerate(fields.values())}
    return msgspec.defstruct(
        "Row",
        [(name, one.type, None) if one.is_nullable else (name, one.type) for name, one in attributes.items()],
        rename={name: one.name for name, one in attributes.items()},
        forbid_unknown_fields=is_closed,
        kw_only=True,
        gc=False,
    )
