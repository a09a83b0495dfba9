"""Invented rows keep the contract, have keys of their own, and give the first company in every column."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from perennial.data.invented import invented_rows
from perennial.use_case import UseCase
from tests.builders import make_use_case


def declared(folder: Path, key: list[str], **columns: Any) -> UseCase:
    names = {"order_id": {"type": "string"}, "ordered_at": {"type": "timestamp"}}
    orders = {"key": key, "columns": names | columns}
    outcomes = {"key": [*key], "columns": {one: {**(names | columns)[one]} for one in key}}
    changes = {"sources": {"orders": orders, "outcomes": outcomes}, "gate": {"slices": {"columns": []}}}
    return make_use_case(folder, months=(), changes=changes).use_case


LINE = {"line": {"type": "integer", "min": 1}, "gift": {"type": "boolean"}}


@pytest.mark.parametrize(
    "key", [["order_id"], ["order_id", "line"], ["gift", "line"], ["ordered_at"], ["gift", "order_id"]]
)
def test_no_key_comes_twice(tmp_path: Path, key: list[str]) -> None:
    keys = [tuple(row[name] for name in key) for row in invented_rows(declared(tmp_path, key, **LINE))]
    assert len({*keys}) == len(keys)


def test_for_any_columns_but_the_whole_key_the_first_row_has_company_that_differs_in_any_other(tmp_path: Path) -> None:
    use_case = declared(tmp_path, ["order_id", "line"], **LINE)
    first, *others = invented_rows(use_case)
    names = [*first]
    for together in (set(some) for size in range(len(names)) for some in combinations(names, size)):
        if not together >= {*use_case.key}:
            company = [one for one in others if all(one[name] == first[name] for name in together)]
            assert company
            free = set(names) - together - {*use_case.key}
            assert all(any(one[name] != first[name] for one in company) for name in free)


def test_values_keep_what_is_declared(tmp_path: Path) -> None:
    columns = {
        "month": {"type": "integer", "min": 1, "max": 12},
        "share": {"type": "number", "min": 0, "max": 1},
        "most": {"type": "integer", "max": 0},
        "huge": {"type": "integer", "min": 1e300},
        "size": {"type": "string", "values": ["s", "m", "l", "xl"]},
        "only": {"type": "string", "values": ["one"]},
    }
    rows = invented_rows(declared(tmp_path, ["order_id"], **columns))
    found = {name: {row[name] for row in rows} for name in columns}
    assert found["month"] == {1, 3, 12} and found["share"] == {0, 0.25, 1} and found["most"] == {-4, -3, 0}
    assert found["size"] == {"l", "m", "xl"} and found["only"] == {"one"}
    assert max(found["huge"]) <= 2**53
