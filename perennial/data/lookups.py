"""Joins of a request with reference tables as look-ups in memory, so that its query scans no table and can stay open.

A join holds few rows back until there are more, and to begin one anew its table is hashed: that takes longer than all
else. What does not fit stays the join that it was. The meaning never changes, which the parity tests and the audit
see to.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from operator import itemgetter
from typing import Any, NamedTuple

from perennial.data.engine import Engine, QueryFailed, quote

_FOUND = " found"
_FAMILIES = (
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"},
    {"VARCHAR"},
    {"DATE"},
    {"BOOLEAN"},
    {"TIMESTAMP WITH TIME ZONE"},
)
"""Types of one family compare as plain values as they do in the engine; fractions and times of other kinds do not."""

Tree = dict[str, Any]


class _Join(NamedTuple):
    """A left join that may become a look-up."""

    alias: str
    table: str
    theirs: tuple[Tree, ...]
    """Expressions over the reference table, equal to `ours`."""
    ours: tuple[Tree, ...]
    rest: tuple[Tree, ...]
    """Further conditions over both sides."""


class _Lookup(NamedTuple):
    join: _Join
    keys: list[str]
    """SQL types of `ours`."""
    fields: dict[str, str]
    """SQL type per column that the query uses."""
    rows: Mapping[Any, tuple[Any, ...]]
    """By what `itemgetter` gives of the key: one value as it is, several as a tuple."""


def with_lookups(engine: Engine, request: Tree, references: Sequence[str]) -> Tree:
    """Return the request part of a query with joins replaced by look-ups in what the engine holds now.

    A `LEFT JOIN` becomes one if its condition has equalities between the first table of the FROM and the reference
    table, of which the latter are unique there, and if every column is named with the alias of its table.

    Args:
        engine: Holds the reference tables, which must not change any more.
        request: See `query_parts.split`.
        references: Names of the reference tables.
    """
    tree = deepcopy(request)
    node = tree["statements"][0]["node"]
    expressions = node["cte_map"]["map"]
    known = {one.lower() for one in references} - {one["key"].lower() for one in expressions}
    for number, select in enumerate([*(one["value"]["query_node"] for one in expressions), node]):
        if select["type"] == "SELECT_NODE":
            _rewrite(engine, request, select, known, f"look_up_{number}")
    try:
        is_same = engine.types(engine.text(tree)) == engine.types(engine.text(request))
    except QueryFailed:
        return request
    return tree if is_same else request


def _rewrite(engine: Engine, request: Tree, select: Tree, references: set[str], name: str) -> None:
    base, joins = _chain(select["from_table"])
    of = _alias(base)
    stars = [one for one in select["select_list"] if one["class"] == "STAR" and one["relation_name"] == of]
    used = [{**select, "from_table": None, "cte_map": None}, [one["condition"] for one in joins]]
    if not joins or _is_hard_to_read(used, stars, {_alias(one["right"]) for one in joins}):
        return
    lookups: list[_Lookup] = []
    others: list[Tree] = []
    for join in joins:
        candidate = _candidate(join, of, references)
        columns = sorted({names[1] for names in _names(used) if names[:-1] == [_alias(join["right"])]})
        found = _loaded(engine, request, candidate, base, columns) if candidate else None
        if found:
            lookups.append(found)
        else:
            others.append(join)
    if lookups:
        source = _looked_up(engine, base, lookups, name)
        for join in others:
            source = {**join, "left": source}
        for star in stars:
            star |= _node(engine, f"SELECT {quote(of)}.* EXCLUDE ({quote(_FOUND)})")["select_list"][0]
        select["from_table"] = source
        _refer(engine, select, of, lookups)


def _chain(source: Tree) -> tuple[Tree, list[Tree]]:
    """Take plain inner and left joins off the first table; anything else gives none."""
    joins: list[Tree] = []
    while source["type"] == "JOIN":
        is_plain = source["ref_type"] == "REGULAR" and source["join_type"] in ("INNER", "LEFT")
        if not is_plain or source["using_columns"] or source["condition"] is None:
            return source, []
        joins.append(source)
        source = source["left"]
    return source, joins[::-1] if source["type"] in ("BASE_TABLE", "SUBQUERY") and _alias(source) else []


def _alias(source: Tree) -> str:
    return str(source.get("alias") or source.get("table_name") or "")


def _is_hard_to_read(parts: Any, stars: Sequence[Tree], aliases: set[str]) -> bool:
    """Other stars, names of three parts and names that mean something else inside a part do not stay what they are."""
    for one in _objects(parts):
        is_star = one.get("class") == "STAR" and one not in stars
        is_deep = one.get("class") == "COLUMN_REF" and len(one["column_names"]) > 2
        inner = {_alias(one)} if "table_name" in one or "subquery" in one else set()
        if one.get("class") == "LAMBDA":
            inner = {names[0] for names in _names(one["lhs"])}
        if is_star or is_deep or inner & aliases:
            return True
    return False


def _candidate(join: Tree, base: str, references: set[str]) -> _Join | None:
    table = join["right"]
    if join["join_type"] != "LEFT" or table["type"] != "BASE_TABLE" or table["column_name_alias"]:
        return None
    alias = _alias(table)
    pairs: list[tuple[Tree, Tree]] = []
    rest: list[Tree] = []
    for condition in _conjuncts(join["condition"]):
        sides = [condition["left"], condition["right"]] if condition["type"] == "COMPARE_EQUAL" else []
        owners = [{names[0] for names in _names(one)} for one in sides]
        if owners == [{alias}, {base}]:
            pairs.append((sides[0], sides[1]))
        elif owners == [{base}, {alias}]:
            pairs.append((sides[1], sides[0]))
        elif {names[0] for names in _names(condition)} <= {alias, base}:
            rest.append(condition)
        else:
            return None
    is_simple = not {"SUBQUERY", "WINDOW", "LAMBDA"} & {one.get("class") for one in _objects(join["condition"])}
    if not pairs or not is_simple or table["table_name"].lower() not in references:
        return None
    theirs, ours = zip(*pairs, strict=True)
    return _Join(alias, table["table_name"], theirs, ours, tuple(rest))


def _conjuncts(condition: Tree) -> Iterator[Tree]:
    if condition["type"] == "CONJUNCTION_AND":
        for one in condition["children"]:
            yield from _conjuncts(one)
    else:
        yield condition


def _loaded(engine: Engine, request: Tree, join: _Join, base: Tree, columns: Sequence[str]) -> _Lookup | None:
    """Read a reference table, unless its keys are not unique or could compare otherwise as plain values."""
    of = f"FROM {quote(join.table)} AS {quote(join.alias)}"
    theirs = [f"{_written(engine, one)} AS {quote(f'key {place}')}" for place, one in enumerate(join.theirs)]
    keys = _types(engine, request, join.ours, base)
    if not _compare_alike(keys, [*engine.types(f"SELECT {', '.join(theirs)} {of}").values()]):
        return None
    listed = ", ".join(f"{quote(join.alias)}.{quote(one)}" for one in columns)
    fields = engine.types(f"SELECT {listed} {of}") if columns else {}
    present = " AND ".join(f"{_written(engine, one)} IS NOT NULL" for one in join.theirs)
    count = engine.scalar(f"SELECT count(*) {of} WHERE {present}")
    rows = engine.each(f"SELECT {', '.join([*theirs, *filter(None, [listed])])} {of} WHERE {present}")
    key = itemgetter(*range(len(keys)))
    nested = {len(keys) + place for place, kind in enumerate(fields.values()) if _is_nested(kind)}
    by_key = {key(one): _flat(one, nested)[len(keys) :] for one in rows}
    return _Lookup(join, keys, fields, by_key) if len(by_key) == count and len(fields) == len(columns) else None


def _is_nested(kind: str) -> bool:
    return "STRUCT" in kind and "MAP" not in kind and "UNION" not in kind


def _flat(row: tuple[Any, ...], nested: Collection[int]) -> tuple[Any, ...]:
    """Structs that are nested in some places as tuples, which the engine takes five times as fast as dictionaries."""
    return tuple([_tuples(one) if place in nested else one for place, one in enumerate(row)]) if nested else row


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(map(_tuples, value.values()))
    return [*map(_tuples, value)] if isinstance(value, list) else value


def _types(engine: Engine, request: Tree, expressions: Sequence[Tree], source: Tree) -> list[str]:
    tree = deepcopy(request)
    statement = tree["statements"][0]
    expressions = [{**one, "alias": f"key {place}"} for place, one in enumerate(expressions)]
    changes = {"select_list": expressions, "from_table": source, "cte_map": statement["node"]["cte_map"]}
    statement["node"] = _node(engine, "SELECT 1") | changes
    return [*engine.types(engine.text(tree)).values()]


def _compare_alike(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(any({one, other} <= family for family in _FAMILIES) for one, other in pairs)


def _looked_up(engine: Engine, base: Tree, lookups: Sequence[_Lookup], name: str) -> Tree:
    """Write the first table with one more column, the fields of all look-ups, found by one call per row."""
    kinds: dict[str, str] = {}
    plans: list[tuple[Callable[[tuple[Any, ...]], Any], Mapping[Any, tuple[Any, ...]], tuple[None, ...]]] = []
    for one in lookups:
        ours = [_written(engine, expression) for expression in one.join.ours]
        kinds |= zip(ours, one.keys, strict=True)
        places = [[*kinds].index(expression) for expression in ours]
        plans.append((itemgetter(*places), one.rows, (None,) * len(one.fields)))

    def look_up(*keys: Any) -> tuple[Any, ...]:
        found: list[Any] = []
        for key, rows, missing in plans:
            found += rows.get(key(keys), missing)
        return tuple(found)

    gives = [f"{quote(_field(one, field))} {kind}" for one in lookups for field, kind in one.fields.items()]
    engine.function(name, look_up, [*kinds.values()], f"STRUCT({', '.join(gives)})", volatile=True)
    call = f"{name}({', '.join(kinds)})"
    around = _node(engine, f"SELECT * FROM (SELECT *, {call} AS {quote(_FOUND)} FROM x) AS {quote(_alias(base))}")
    around["from_table"]["subquery"]["node"]["from_table"] = base
    return dict(around["from_table"])


def _refer(engine: Engine, select: Tree, base: str, lookups: Sequence[_Lookup]) -> None:
    """Let what named a column of a reference table name the field of the look-up, where its other conditions hold."""
    for one in select["select_list"]:
        if one["class"] == "COLUMN_REF" and not one["alias"]:
            one["alias"] = one["column_names"][-1]
    for lookup in lookups:
        conditions = deepcopy([*lookup.join.rest])
        for one in _columns_of(lookup, conditions):
            one["column_names"] = _path(lookup, base, one["column_names"][1])
        written = " AND ".join(f"({_written(engine, one)})" for one in conditions)
        for one in _columns_of(lookup, {**select, "cte_map": None}):
            one["column_names"] = _path(lookup, base, one["column_names"][1])
            if written:
                case = _node(engine, f"SELECT CASE WHEN {written} THEN {_written(engine, one)} END")["select_list"][0]
                case["alias"] = one["alias"]
                one.clear()
                one |= case


def _columns_of(lookup: _Lookup, part: Any) -> list[Tree]:
    columns = [one for one in _objects(part) if one.get("class") == "COLUMN_REF" and len(one["column_names"]) == 2]
    return [one for one in columns if one["column_names"][0] == lookup.join.alias]


def _path(lookup: _Lookup, base: str, column: str) -> list[str]:
    return [base, _FOUND, _field(lookup, column)]


def _field(lookup: _Lookup, column: str) -> str:
    return f"{lookup.join.alias}.{column.lower()}"


def _node(engine: Engine, sql: str) -> Tree:
    return dict(engine.tree(sql)["statements"][0]["node"])


def _written(engine: Engine, expression: Tree) -> str:
    tree = engine.tree("SELECT 1")
    tree["statements"][0]["node"]["select_list"] = [{**expression, "alias": ""}]
    return engine.text(tree).removeprefix("SELECT ")


def _names(part: Any) -> Iterator[list[str]]:
    return (one["column_names"] for one in _objects(part) if one.get("class") == "COLUMN_REF")


def _objects(part: Any) -> Iterator[Tree]:
    if isinstance(part, dict):
        yield part
        for one in list(part.values()):
            yield from _objects(one)
    elif isinstance(part, list):
        for one in part:
            yield from _objects(one)
