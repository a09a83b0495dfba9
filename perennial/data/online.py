"""Features of single requests by the same query: reference tables computed once, the rest over the rows that are asked.

It knows nothing of models or of HTTP. Rows come with the declared columns of the entity's source, already checked.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pyarrow as pa

from perennial.data.engine import Engine, QueryFailed, quote, quote_time
from perennial.data.features import FeatureColumns, FeaturesQueryWrong, checked_columns, typed_sql
from perennial.data.lookups import with_lookups
from perennial.data.newest_rows import furthest_back, newest_rows
from perennial.data.queries import Reference, keep_reference
from perennial.data.query_parts import OBSERVATIONS, split, tables_of
from perennial.data.standing import Standing
from perennial.data.views import known_deliveries, open_views
from perennial.digests import digest_bytes
from perennial.state import State
from perennial.use_case import UseCase
from perennial.workspace import Workspace

if TYPE_CHECKING:
    from perennial.model.encoding import Encoder, Matrix

TIMES = ("event_time", "known_at")
"""Columns of a row that `request_times` gives it."""
_RECENT = "recent"
_BEGINNING = datetime.fromtimestamp(0, UTC)

Row = Mapping[str, Any]


class Asked(NamedTuple):
    """What was found for some rows, in their order."""

    names: tuple[str, ...]
    """Of the features, in the order of the query."""
    values: list[tuple[Any, ...]]
    """Features per row: numbers, texts or `None`."""
    matrix: "Matrix"
    """The same, coded for the model, shape (rows, features)."""

    @property
    def features(self) -> pa.Table:
        """The features as a table."""
        return pa.Table.from_pylist(self.dicts())

    def dicts(self) -> list[dict[str, Any]]:
        """Return the features by name, one dictionary per row."""
        return [dict(zip(self.names, one, strict=True)) for one in self.values]


class OnlineFeatures:
    """The reference tables of a use case's query as of one moment, and the query over them. It is for one thread.

    Fresher data needs a new one; the old one goes on answering until it is dropped.
    """

    def __init__(self, ws: Workspace, as_of: datetime, query: str | None = None, state: State | None = None) -> None:
        """Compute the reference tables.

        Args:
            ws: Whose features.
            as_of: Deliveries and rows known up to here are seen.
            query: Text of the features query, by default that of the use case's folder.
            state: The journal's state, by default as it is now.

        Raises:
            FeaturesQueryWrong: The query's result has the wrong shape.
            QueryFailed: The engine refused it.
        """
        self._ws = ws
        self.as_of = as_of
        self.query = ws.use_case.features_sql if query is None else query
        state = ws.state() if state is None else state
        self.deliveries = known_deliveries(state, as_of)
        self._engine = Engine(ws.settings, alone=True)
        open_views(self._engine, ws, as_of, deliveries=self.deliveries, state=state)
        self._schema = self._engine.schema(f"SELECT * FROM {OBSERVATIONS}")
        self._names, self._struct = self._schema.names, pa.struct(self._schema)
        newest = newest_rows(self._engine, ws.use_case)
        self.newest_row_at = furthest_back(self._engine, ws.use_case, self._select, newest, self.deliveries, self.as_of)
        moment = max(newest.values(), default=_BEGINNING)
        self._cut(moment)
        self._request = self._materialise()
        self._engine.execute("SET threads = 1")  # a request is too little work to share
        self._features = self._checked()
        typed = typed_sql(self._features, ws.use_case, f"({self._request})")
        wanted = ", ".join(map(quote, (*ws.use_case.key, *self._features.all)))
        self._standing = Standing(self._engine, OBSERVATIONS, self._schema, f"SELECT {wanted} FROM ({typed})")
        self.rests_on = Reference(
            query=digest_bytes(self.query.encode()),
            deliveries=tuple(f"{one.source}/{one.partition}" for one in self.deliveries),
            moment=moment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def reference(self) -> str:
        """Digest of what the features rest on, kept in the store for the audit the first time it is asked for."""
        return keep_reference(self._ws, self.rests_on)

    @property
    def names(self) -> tuple[str, ...]:
        """The features in the order of the query."""
        return self._features.all

    def prepared(self, encoder: "Encoder") -> "OnlineQuery":
        """Return the query for a model, whose encoder codes what it gives.

        Raises:
            QueryFailed: The query does not give a feature of the encoder.
        """
        for kind, wanted, given in (
            ("number", encoder.numeric, self._features.numeric),
            ("text", encoder.categories, self._features.categorical),
        ):
            if missing := [one for one in wanted if one not in given]:
                raise QueryFailed(
                    f"`{self._ws.use_case.slug}` gives no {kind} `{missing[0]}`, which the model was trained with. "
                    "Expected the query of its own training."
                )
        return OnlineQuery(self, encoder)

    @property
    def stays_open(self) -> bool:
        """Whether the query answers without being begun anew, which is several times as fast for few rows."""
        return self._standing.stays_open

    def plan(self) -> str:
        """Return how the engine would answer, for people and tests."""
        self._standing.end()
        return "\n".join(one[1] for one in self._engine.rows(f"EXPLAIN {self._request}"))

    def run(self, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
        """Run the query over rows; what it gives is in their order.

        Raises:
            FeaturesQueryWrong: It does not give one row per given row.
        """
        observed = self._observed(rows)
        first: dict[tuple[Any, ...], int] = {}
        same = [first.setdefault(one, place) for place, one in enumerate(observed)]
        distinct = [*first.values()]
        found: list[tuple[Any, ...]] = [()] * len(rows)
        keys = [tuple([one[name] for name in self._ws.use_case.key]) for one in rows]
        for places in in_rounds([keys[place] for place in distinct]):
            self._round([distinct[place] for place in places], observed, keys, found)
        return [found[place] for place in same] if len(distinct) < len(rows) else found

    def _round(
        self,
        places: Sequence[int],
        observed: Sequence[tuple[Any, ...]],
        keys: Sequence[tuple[Any, ...]],
        found: list[tuple[Any, ...]],
    ) -> None:
        named = [dict(zip(self._names, observed[place], strict=True)) for place in places]
        given = self._standing.ask(pa.RecordBatch.from_struct_array(pa.array(named, self._struct)))
        size = len(self._ws.use_case.key)
        by_key = {one[:size]: one[size:] for one in given}
        if len(given) != len(places) or not all(keys[place] in by_key for place in places):
            raise FeaturesQueryWrong(
                f"`{self._ws.use_case.slug}` gave {len(given)} rows of features for {len(places)} requests, such "
                f"as {keys[places[0]]}. Expected one row for each. See `check` of the use case."
            )
        for place in places:
            found[place] = by_key[keys[place]]

    def close(self) -> None:
        """Give the memory back."""
        self._standing.end()
        self._engine.__exit__(None, None, None)

    def _observed(self, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
        times = [request_times(self._ws.use_case, one) for one in rows]
        columns = [
            [one[name] for one in times] if name in TIMES else [one.get(name) for one in rows] for name in self._names
        ]
        return [*zip(*columns, strict=True)]

    @property
    def _select(self) -> str:
        return self.query.strip().rstrip(";")

    def _cut(self, moment: datetime) -> None:
        """Leave out what became known longer before the newest than `serving.history`."""
        serving = self._ws.use_case.serving
        self._engine.execute(f"CREATE SCHEMA {_RECENT}")
        if serving and serving.history:
            since = f"known_at >= {quote_time(moment - serving.history)}"
            for name in ("labels", *self._ws.use_case.sources):
                source = self._ws.use_case.sources.get(name)
                if source is None or not source.is_reference:
                    self._engine.execute(
                        f"CREATE VIEW {_RECENT}.{quote(name)} AS SELECT * FROM main.{quote(name)} WHERE {since}"
                    )
        self._engine.execute(f"SET search_path = '{_RECENT},main'")

    def _materialise(self) -> str:
        parts = split(self._engine, self._select)
        for name, sql in parts.references.items():
            self._engine.keep(name, sql, query=self._ws.use_case.features)
        for name in sorted(parts.tables - parts.references.keys()):
            self._engine.keep(name, f"SELECT * FROM {quote(name)}")
        self._engine.arrow(OBSERVATIONS, self._schema.empty_table())
        request = with_lookups(self._engine, parts.request, sorted(parts.tables))
        for name in {*parts.references, *parts.tables} - {*tables_of(request)}:
            self._engine.execute(f"DROP TABLE temp.{quote(name)}")
        return self._engine.text(request)

    def _checked(self) -> FeatureColumns:
        name = f"{self._ws.use_case.slug}/{self._ws.use_case.features}"
        return checked_columns(self._engine.schema(self._request), self._ws.use_case, name)


class OnlineQuery:
    """The query of one `OnlineFeatures` for one encoder."""

    def __init__(self, features: OnlineFeatures, encoder: "Encoder") -> None:
        self._features = features
        self._encoder = encoder
        self._places = [features.names.index(one) for one in encoder.features]

    def ask(self, rows: Sequence[Row]) -> Asked:
        """Return the features of some rows, in their order.

        Args:
            rows: Declared columns of the entity's source by name; absent ones are missing.
        """
        names, places = self._features.names, self._places
        found = self._features.run(rows)
        return Asked(names, found, self._encoder.encode([[one[place] for place in places] for one in found]))


def request_times(use_case: UseCase, row: Row) -> dict[str, datetime]:
    """Return `event_time` and `known_at` of a request, as `views` gives them to a row of the entity."""
    event_time: datetime = row[use_case.event_time]
    stated = use_case.sources[use_case.entity].known_at
    known_at = min(row[stated], event_time) if stated and row.get(stated) else event_time
    return {"event_time": event_time, "known_at": known_at}


def in_rounds(keys: Sequence[tuple[Any, ...]]) -> list[list[int]]:
    """Return the places of some keys in rounds in which no key comes twice: a query may join on the key."""
    if len(set(keys)) == len(keys):
        return [[*range(len(keys))]] if keys else []
    rounds: list[list[int]] = []
    seen: Counter[tuple[Any, ...]] = Counter()
    for place, key in enumerate(keys):
        if seen[key] == len(rounds):
            rounds.append([])
        rounds[seen[key]].append(place)
        seen[key] += 1
    return rounds
