"""The page survives what Evidently does not, says what it left out, and shows nothing that runs."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from perennial.records import Finding, Interval, Level
from perennial.watch.report import Picture, draw, plain

ROWS = 60


def sample(seed: int, rows: int = ROWS, **changed: Any) -> pa.Table:
    random = np.random.default_rng(seed)
    start = np.datetime64("2024-04-01", "us")
    columns: dict[str, Any] = {
        "event_time": pa.array(start + np.arange(rows) * np.timedelta64(1, "h"), pa.timestamp("us", "UTC")),
        "price": random.gamma(2, 30, rows),
        "shop": random.choice(["aachen", "bonn"], rows),
        "score": random.random(rows),
        "label": random.integers(0, 2, rows).astype(float),
    }
    kept = {name: values for name, values in (columns | changed).items() if values is not None}
    return pa.table(kept)


def picture(**changed: Any) -> Picture:
    finding = Finding(
        level=Level.ALERT,
        category="score-drift",
        subject="score",
        summary="`score` has drifted: <b>0.3</b>.",
        detail="",
        resolution="",
    )
    usual = Picture(
        title="Orders <that> come back",
        facts=("Release 1 (version 1).",),
        performance={
            "roc_auc": Interval(value=0.71, low=0.69, high=0.73, rows=400),
            "brier": Interval(value=None, rows=1),
        },
        holdout={"roc_auc": Interval(value=0.75, rows=300)},
        findings=(finding,),
        drift={"price": 0.1234, "shop": 0.01, "score": 0.3456},
        drifted=frozenset({"score"}),
        categorical=frozenset({"shop", "label"}),
        reference=sample(1),
        current=sample(2),
    )
    return replace(usual, **changed)


def drawn_columns(page: str) -> set[str]:
    return set(re.findall(r'"column_name": "([^"]+)"', page))


def test_page_shows_words_and_our_own_drift() -> None:
    page = draw(picture())
    assert drawn_columns(page) == {"price", "shop", "score", "label"}
    assert '"drift_score": 0.1234' in page and '"drift_score": 0.3456' in page
    assert page.count('"data_drift": "Detected"') == 1
    assert "Orders &lt;that&gt; come back" in page and "&lt;b&gt;0.3&lt;/b&gt;" in page
    assert "0.71 <span class='dim'>(0.69 to 0.73)</span>" in page and "unknown" in page


def test_page_may_load_nothing_from_anywhere() -> None:
    page = draw(picture())
    assert "default-src 'none'" in page.partition("<body>")[0]
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", page)


@pytest.mark.parametrize(
    "values",
    [pa.nulls(ROWS, pa.float64()), [np.inf] * ROWS, [np.nan] * ROWS, [1.0] + [None] * (ROWS - 1), None],
    ids=["null", "infinite", "nan", "one value", "gone"],
)
@pytest.mark.parametrize("side", ["reference", "current"])
def test_a_column_that_cannot_be_drawn_is_named(side: str, values: Any) -> None:
    page = draw(picture(**{side: sample(3, price=values)}))
    assert drawn_columns(page) == {"shop", "score", "label"}
    assert "no values of them: <b>price</b>" in page


def test_constant_and_partly_infinite_columns_are_drawn() -> None:
    now = sample(3, price=[5.0] * ROWS, score=[np.inf, -np.inf, None] + [0.5] * (ROWS - 3), shop=["bonn"] * ROWS)
    assert drawn_columns(draw(picture(current=now))) == {"price", "shop", "score", "label"}


@pytest.mark.parametrize("first", [2.0**60, 2.0**63])
@pytest.mark.parametrize("side", ["reference", "current"])
def test_large_numbers_that_a_double_cannot_tell_apart_are_named(side: str, first: float) -> None:
    page = draw(picture(**{side: sample(3, price=first + np.arange(ROWS))}))
    assert drawn_columns(page) == {"shop", "score", "label"}
    assert "too similar numbers, or no values of them: <b>price</b>" in page
    apart = {one: sample(3, price=first + np.arange(ROWS) * 2.0**20) for one in ("reference", "current")}
    assert "price" in drawn_columns(draw(picture(**apart)))


def test_constant_columns_warn_nobody(recwarn: pytest.WarningsRecorder) -> None:
    draw(picture(current=sample(3, price=[5.0] * ROWS, score=[0.5] * ROWS)))
    assert not [one for one in recwarn if one.category is RuntimeWarning]


@pytest.mark.parametrize("rows", [0, 1])
def test_a_page_without_rows_is_words_alone(rows: int) -> None:
    page = draw(picture(current=sample(3, rows=rows)))
    assert "score-drift" in page and "price, shop, score" in page
    assert "<script" not in page


def test_labels_that_are_pending_leave_no_trace() -> None:
    page = draw(picture(current=sample(3, label=pa.nulls(ROWS, pa.float64()))))
    assert drawn_columns(page) == {"price", "shop", "score"}


def test_texts_and_names_cannot_become_markup() -> None:
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    shops = [hostile] * 30 + ["bonn"] * 30
    named = {"price": 0.1, "shop": 0.1, hostile: 0.2}
    rows = [sample(seed, shop=shops).append_column(hostile, pa.array(np.arange(60.0))) for seed in (1, 2)]
    page = draw(picture(drift=named, reference=rows[0], current=rows[1]))
    assert len(drawn_columns(page)) == 4
    assert "alert(1)<" not in page and "<img src=x" not in page and "</script><script>alert" not in page


def test_many_categories_are_drawn_as_the_most_frequent_and_the_others() -> None:
    shops = [f"shop {number}" for number in range(ROWS)]
    page = draw(picture(current=sample(3, shop=shops)))
    assert "(all others)" in page


def test_plain_texts_are_short_and_printable() -> None:
    assert plain("a<b>&\x00\n") == "a‹b›＆  "  # noqa: RUF001
    assert len(plain("x" * 500)) == 60
