"""What a declaration may say, and what follows from it."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from perennial.source_spec import CsvRead, PythonRead, Source, SqlRead
from perennial.use_case import Candidate, UseCase, is_slug


def source(**changes: Any) -> dict[str, Any]:
    columns = {"id": {"type": "string"}, "at": {"type": "timestamp"}, "known": {"type": "timestamp"}}
    return {"read": {"csv": "x.csv"}, "key": ["id"], "event_time": "at", "columns": columns} | changes


def use_case(**changes: Any) -> dict[str, Any]:
    return {
        "title": "Orders",
        "task": "binary",
        "entity": "orders",
        "sources": {"orders": source(), "outcomes": source()},
        "label": {"source": "outcomes", "value": "returned"},
        "metrics": {"primary": "roc_auc"},
        "training": {"candidates": {"majority": {"estimator": "majority"}, "trees": {"estimator": "xgboost"}}},
        "gate": {"floor": 0.6},
    } | changes


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        ({"csv": "a.csv"}, CsvRead),
        ({"python": "shop/source.py:orders"}, PythonRead),
        ({"sql": "sqlite://", "query": "SELECT 1"}, SqlRead),
    ],
)
def test_the_key_says_how_a_source_is_read(read: dict[str, str], kind: type) -> None:
    assert type(Source.model_validate(source(read=read)).read) is kind


@pytest.mark.parametrize("adapter", ["/etc/x.py:f", "x.py", "x.sh:f", "x.py:f()", "-m.py:f", "x.py:1f"])
def test_an_adapter_is_a_file_and_a_function(adapter: str) -> None:
    with pytest.raises(ValidationError):
        PythonRead(python=adapter)


def test_a_source_without_event_time_is_a_reference_table() -> None:
    assert Source.model_validate(source(event_time=None)).is_reference
    assert not Source.model_validate(source()).is_reference


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": ["lost"]}, "`lost` is used as key or time but is not declared"),
        ({"event_time": "id"}, "`id` is used as a time, so its type must be `timestamp`"),
        ({"event_time": None, "known_at": "known"}, "`known_at` needs `event_time`"),
        ({"tolerance": 1.5}, "less than or equal to 1"),
        ({"colums": {}}, "Extra inputs are not permitted"),
    ],
)
def test_a_source_must_fit_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Source.model_validate(source(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entity": "lost"}, "`entity` names `lost`"),
        ({"label": {"source": "lost", "value": "1"}}, "`label.source` names `lost`"),
        ({"sources": {"orders": source(event_time=None), "outcomes": source()}}, "needs `event_time`"),
        ({"sources": {"orders": source(), "outcomes": source(key=["at"], columns={"at": {"type": "timestamp"}})}},
         "`label.source` `outcomes` lacks the key column `id`"),
        ({"starts": "2024"}, "`starts` is `2024`, which is no month"),
    ],
)  # fmt: skip
def test_a_use_case_must_fit_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        UseCase.model_validate(use_case(**changes))


def test_one_candidate_is_too_few_for_a_comparison() -> None:
    with pytest.raises(ValidationError, match="at least 2 items"):
        UseCase.model_validate(use_case(training={"candidates": {"majority": {"estimator": "majority"}}}))


def test_key_and_event_time_are_those_of_the_entity() -> None:
    found = UseCase.model_validate(use_case())
    assert (found.key, found.event_time) == (("id",), "at")
    assert found.training.holdout == timedelta(days=14)


def test_the_contract_is_the_same_wherever_the_rows_come_from() -> None:
    one, other = (Source.model_validate(source(read={"csv": path})) for path in ("a.csv", "b.csv"))
    assert one.contract_digest == other.contract_digest
    assert one.contract_digest != Source.model_validate(source(tolerance=0.5)).contract_digest


def test_the_spec_digest_changes_with_any_value() -> None:
    digests = {
        UseCase.model_validate(use_case(**one)).spec_digest for one in ({}, {"title": "Other"}, {"every": "day"})
    }
    assert len(digests) == 3


def test_parameters_keep_their_types() -> None:
    params = {"depth": 3, "rate": 0.1, "exact": True, "booster": "gbtree", "whole": 2.0}
    kept = Candidate(estimator="xgboost", params=params).params
    assert [(type(value), value) for value in kept.values()] == [(type(value), value) for value in params.values()]


@pytest.mark.parametrize(
    ("text", "fits"),
    [("a", True), ("flight-delay", True), ("a1-2b", True), ("a" * 53, True), ("a" * 54, False), ("", False),
     ("1a", False), ("a--b", False), ("-a", False), ("a-", False), ("A", False), ("a\n", False), ("ä", False)],
)  # fmt: skip
def test_slugs(text: str, fits: bool) -> None:
    assert is_slug(text) is fits
