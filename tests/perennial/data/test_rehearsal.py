"""What a declaration gets wrong shows without data."""

from pathlib import Path

import pytest

from perennial.data.engine import QueryFailed
from perennial.data.rehearsal import BadLabel, files_not_there, rehearse
from tests.builders import make_use_case, write_month


def test_a_right_declaration_passes_without_data(tmp_path: Path) -> None:
    rehearse(make_use_case(tmp_path, months=()))


def test_a_source_without_any_file_is_named_until_one_is_there(tmp_path: Path) -> None:
    ws = make_use_case(tmp_path, months=())
    assert [one for one in files_not_there(ws) if "`sources.orders.read` of `shop-returns`: No file matches" in one]
    write_month(ws.use_case.folder, "2024-03", rows=5, seed=1)
    assert not [one for one in files_not_there(ws) if "orders" in one]


def test_a_label_of_no_column_is_named_with_the_columns_there_are(tmp_path: Path) -> None:
    ws = make_use_case(tmp_path, months=(), changes={"label": {"value": "nosuchcolumn"}})
    with pytest.raises(BadLabel, match=r"`nosuchcolumn`, cannot be computed.*Expected a SQL expression"):
        rehearse(ws)


@pytest.mark.parametrize("query", ["SELEC 1", "SELECT o.*, o.nosuch AS x FROM observations o"])
def test_a_features_query_that_cannot_run_is_named(tmp_path: Path, query: str) -> None:
    ws = make_use_case(tmp_path, months=())
    (ws.use_case.folder / ws.use_case.features).write_text(query)
    with pytest.raises(QueryFailed, match=r"features\.sql"):
        rehearse(ws)
