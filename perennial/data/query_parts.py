"""A features query in two parts, cut by the engine's own parser: what rests on the request, and what does not.

It reads names off the query and writes it again; of expressions it knows only which functions they call.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from perennial.data.engine import Engine, quote

OBSERVATIONS = "observations"
_CLOCK = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
"""What SQL calls without parentheses."""
_AGE = "age until today"
_SAMPLE = "sample"


class QueryParts(NamedTuple):
    """What to run once, in that order, and what to run for each request."""

    references: dict[str, str]
    """SELECT per common table expression that does not depend on `observations`; it may name those before it. Names are
    in lower case here and below: to SQL they are the same."""
    request: dict[str, Any]
    """The query without them, as `Engine.tree` gives it."""
    tables: frozenset[str]
    """What the request part reads beside `observations` and its own expressions."""


def split(engine: Engine, sql: str) -> QueryParts:
    """Cut a query: an expression that reads `observations`, itself or through others, stays with the request.

    Raises:
        QueryFailed: The query is no SELECT.
    """
    tree = engine.tree(sql)
    node = tree["statements"][0]["node"]
    per_request = {OBSERVATIONS}
    references, kept = {}, []
    for expression in node["cte_map"]["map"]:
        name = expression["key"].lower()
        if per_request.isdisjoint(tables_of(expression)):
            references[name] = _alone(engine, expression)
        else:
            per_request.add(name)
            kept.append(expression)
    node["cte_map"]["map"] = kept
    return QueryParts(references, tree, frozenset(tables_of(node)) - {OBSERVATIONS})


def tables_of(part: Any, own: frozenset[str] = frozenset()) -> Iterator[str]:
    """Name every table, view and expression that a part of a query reads, in lower case.

    Args:
        part: Of what `Engine.tree` gave.
        own: Expressions that it has from around it, which are not named. Those that are its own are not either.
    """
    if isinstance(part, dict):
        if part.get("type") == "BASE_TABLE" and part["table_name"].lower() not in own:
            yield part["table_name"].lower()
        if part.get("type") == "RECURSIVE_CTE_NODE":
            own |= {part["cte_name"].lower()}
        for expression in (part.get("cte_map") or {"map": ()})["map"]:
            yield from tables_of(expression["value"], own)
            own |= {expression["key"].lower()}
        for name, one in part.items():
            if name != "cte_map":
                yield from tables_of(one, own)
    elif isinstance(part, list):
        for one in part:
            yield from tables_of(one, own)


def undecided(engine: Engine, sql: str) -> list[str]:
    """Name what a query calls whose values its rows do not decide, as `now` and `random`, in alphabetic order.

    Raises:
        QueryFailed: The query is no SELECT.
    """
    functions = "SELECT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
    changing = {*_CLOCK, _AGE, _SAMPLE, *(one for (one,) in engine.rows(functions))} - {"error"}
    return sorted(changing & {*_called(engine.tree(sql))})


def _called(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if part.get("class") == "FUNCTION":
            name = part["function_name"]
            yield _AGE if name == "age" and len(part["arguments"]) == 1 else name
        if part.get("sample"):
            yield _SAMPLE
        if part.get("class") == "COLUMN_REF" and (name := part["column_names"][0].lower()) in _CLOCK:
            yield name
        for one in part.values():
            yield from _called(one)
    elif isinstance(part, list):
        for one in part:
            yield from _called(one)


def _alone(engine: Engine, expression: dict[str, Any]) -> str:
    """Written as a query around the whole expression, so that its column names and recursion stay what they are."""
    tree = engine.tree(f"SELECT * FROM {quote(expression['key'])}")
    tree["statements"][0]["node"]["cte_map"]["map"] = [expression]
    return engine.text(tree)
