from pathlib import Path

import pytest

from perennial.data.features import build_features
from perennial.data.online import OnlineFeatures
from perennial.data.queries import QueryLost, copy_query, load_query, load_reference
from perennial.periods import Period
from tests.builders import deliver, features_sql, make_use_case, moment


def test_the_query_of_an_old_model_outlives_its_file(tmp_path: Path):
    ws = make_use_case(tmp_path, rows=30, months=["2024-01"])
    deliver(ws, "2024-01")
    built = build_features(ws, Period.parse("2024-01"), moment("2024-02-01"))
    (ws.use_case.folder / "features.sql").write_text("SELECT 1")
    assert load_query(ws, built.query) == features_sql()


def test_a_changed_or_missing_query_is_refused(tmp_path: Path):
    ws = make_use_case(tmp_path, rows=30, months=["2024-01"])
    deliver(ws, "2024-01")
    built = build_features(ws, Period.parse("2024-01"), moment("2024-02-01"))
    (ws.use_case.folder / "features.sql").write_text("SELECT 1")
    ws.store.put(f"queries/{built.query}.sql", b"SELECT 2")
    with pytest.raises(QueryLost, match="was changed"):
        load_query(ws, built.query)
    with pytest.raises(QueryLost, match="does not exist"):
        load_query(ws, "0" * 64)


def test_what_online_features_rest_on_is_found_by_its_digest(tmp_path: Path):
    ws = make_use_case(tmp_path, rows=30, months=["2024-01"])
    deliver(ws, "2024-01")
    with OnlineFeatures(ws, moment("2024-03-01")) as online:
        kept = load_reference(ws, online.reference)
        assert kept == online.rests_on
    assert kept.query == ws.use_case.features_digest
    assert [one.partition("/")[0] for one in kept.deliveries] == ["orders", "outcomes", "shops"]
    assert kept.moment <= moment("2024-03-01")


def test_a_query_goes_along_with_its_model(tmp_path: Path):
    ws = make_use_case(tmp_path / "here", rows=30, months=["2024-01"])
    there = make_use_case(tmp_path / "there", rows=30, months=["2024-01"])
    digest = ws.use_case.features_digest
    (there.use_case.folder / "features.sql").write_text("SELECT 1")
    copy_query(ws, there, digest)
    assert load_query(there, digest) == features_sql()
