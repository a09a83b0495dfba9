"""Plots, slices and card are true to the scores, the same for the same scores, and safe to show."""

import csv
import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perennial.model.card import Slice, model_card, slices_csv, summary
from perennial.model.evidence import make_evidence, slices
from perennial.model.metrics import Scores, interval
from perennial.model.plots import draw_importance, draw_plots
from perennial.periods import Window
from perennial.records import Answer, CandidateFit, Interval, Trained, Verdict
from perennial.use_case import UseCase
from tests.builders import make_use_case, moment

AS_OF = moment("2024-05-15")
URI = "sqlite:///mlflow.db"


@pytest.fixture(scope="module")
def use_case(tmp_path_factory: pytest.TempPathFactory) -> UseCase:
    return make_use_case(tmp_path_factory.mktemp("evidence"), rows=1, months=()).use_case


def fit(name: str, value: float | None) -> CandidateFit:
    metrics = {
        "roc_auc": Interval(value=value, low=0.7, high=0.8, rows=190),
        "log_loss": Interval(value=None, rows=190),
    }
    return CandidateFit(name=name, estimator="ridge", model=f"digest-of-{name}", parameters={}, metrics=metrics)


def window(start: str, end: str) -> Window:
    return Window(start=moment(start), end=moment(end))


def trained() -> Trained:
    return Trained(
        key="k",
        model="digest-of-linear",
        candidate="linear",
        baseline="digest-of-majority",
        candidates=(fit("majority", 0.5), fit("linear", 0.75)),
        fit=window("2024-01-01", "2024-04-03"),
        validation=window("2024-04-03", "2024-04-17"),
        holdout=window("2024-04-17", "2024-05-08"),
        fit_rows=12345,
        validation_rows=93,
        holdout_rows=190,
        snapshots=("a", "b"),
        features_version=4,
        labels="labels",
        spec="spec",
        query="query",
        code="code",
        lock="lock",
        seed=0,
        audit=Verdict(answer=Answer.PASS, reasons=()),
    )


def scores(rows: int = 400, **changes: Any) -> Scores:
    random = np.random.default_rng(0)
    score = random.random(rows)
    y = (random.random(rows) < score).astype(float)
    channel = np.where(np.arange(rows) % 10 == 0, "rare", np.where(np.arange(rows) % 3 == 0, "web", "app"))
    return Scores(**{"y": y, "score": score, "slices": {"channel": channel.astype(object)}, "rows": "digest"} | changes)


def chunks(png: bytes) -> dict[bytes, bytes]:
    """Return the chunks of a PNG by their type, after checking their sums."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    found, place = {}, 8
    while place < len(png):
        (size,) = struct.unpack(">I", png[place : place + 4])
        kind, data = png[place + 4 : place + 8], png[place + 8 : place + 8 + size]
        assert zlib.crc32(kind + data) == struct.unpack(">I", png[place + 8 + size : place + 12 + size])[0]
        found[kind], place = data, place + 12 + size
    return found


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("binary", {"roc.png", "precision-recall.png", "calibration.png"}),
        ("regression", {"predicted-vs-actual.png", "residuals.png", "calibration.png"}),
    ],
)
@pytest.mark.parametrize("rows", [1, 30, 3000])
def test_each_task_has_its_plots(task: str, names: set[str], rows: int) -> None:
    y = np.arange(rows, dtype=float) if task == "regression" else np.arange(rows) % 2.0
    drawn = draw_plots(task, scores(rows, y=y), {})
    one_class = task == "binary" and rows == 1
    assert set(drawn) == ({"calibration.png"} if one_class else names)
    for png in drawn.values():
        width, height = struct.unpack(">II", chunks(png)[b"IHDR"][:8])
        assert (width, height) == (832, 650)


def test_no_time_or_version_is_stamped_on_a_plot() -> None:
    for png in draw_plots("binary", scores(), {}).values():
        assert not {b"tEXt", b"zTXt", b"iTXt", b"tIME"} & set(chunks(png))


def test_threads_draw_the_same_bytes() -> None:
    with ThreadPoolExecutor(4) as threads:
        drawn = list(threads.map(lambda _: draw_plots("binary", scores(), {})["roc.png"], range(6)))
    assert set(drawn) == {draw_plots("binary", scores(), {})["roc.png"]}


def test_one_class_has_no_roc_curve_and_no_rows_have_no_plot() -> None:
    assert set(draw_plots("binary", scores(y=np.zeros(400)), {})) == {"calibration.png"}
    empty = Scores(np.array([]), np.array([]), {}, "")
    assert draw_plots("binary", empty, {}) == draw_plots("regression", empty, {}) == {}


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_scores_that_are_not_finite_are_left_out(task: str) -> None:
    good = scores(100)
    score = np.concatenate([good.score, [np.nan, np.inf]])
    y = np.concatenate([good.y, [1.0, 0.0]])
    assert draw_plots(task, scores(102, y=y, score=score), {}) == draw_plots(task, good, {})


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_constant_score_can_be_drawn(task: str) -> None:
    assert len(draw_plots(task, scores(score=np.full(400, 0.5)), {})) == 3


def test_only_the_most_important_features_are_drawn() -> None:
    many = {f"feature_{number:02d}": float(number) for number in range(50)}
    shown = {name: weight for name, weight in many.items() if weight >= 30}
    heights = [struct.unpack(">II", chunks(draw_importance(one))[b"IHDR"][:8])[1] for one in (many, shown)]
    assert heights[0] == heights[1]


def test_slices_are_measured_on_their_rows_and_only_with_enough(use_case: UseCase) -> None:
    given = scores()
    found = {one.value: one for one in slices(use_case, given)}
    assert list(found) == ["app", "web", "rare"]
    web = given.slices["channel"] == "web"
    assert found["web"].metric == interval("roc_auc", given.y[web], given.score[web], resamples=200)
    assert list({one.value for one in slices(use_case, scores(250))}) != ["rare"]
    assert "rare" not in {one.value for one in slices(use_case, scores(250))}


def test_the_evidence_holds_plots_slices_and_card(use_case: UseCase) -> None:
    evidence = make_evidence(use_case, trained(), scores(), {"price": 0.7, "shop": 0.3}, AS_OF, URI)
    assert set(evidence.files) == {
        "roc.png", "precision-recall.png", "calibration.png", "importance.png", "slices.csv", "model-card.md",
    }  # fmt: skip
    again = make_evidence(use_case, trained(), scores(), {"price": 0.7, "shop": 0.3}, AS_OF, URI)
    assert again == evidence


def test_a_constant_has_no_importance_to_draw(use_case: UseCase) -> None:
    evidence = make_evidence(use_case, trained(), scores(), {"price": 0.0}, AS_OF, URI)
    assert "importance.png" not in evidence.files


def test_the_card_says_what_was_recorded(use_case: UseCase) -> None:
    card = model_card(use_case, trained(), list(slices(use_case, scores())), AS_OF, URI)
    for said in (
        "# Orders that come back",
        "| fit | 2024-01-01 00:00 | 2024-04-03 00:00 | 12,345 |",
        "| **linear** | ridge | 1 | 0.75 [0.7, 0.8] | undefined |",
        "- roc_auc reaches 0.65 on at least 100 rows",
        "- on no slice of `channel` with 30 rows or more",
        "| model | `digest-of-linear` |",
        'mlflow.pyfunc.load_model("models:/shop-returns@champion")',
        "Labels count as complete 7d after the event",
    ):
        assert said in card
    assert summary(use_case, trained()) in card


def test_a_value_from_the_data_cannot_break_out_of_the_card(use_case: UseCase) -> None:
    hostile = Slice("channel", "a|b`<script>\n# c", Interval(value=0.5, rows=30))
    card = model_card(use_case, trained(), [hostile], AS_OF, URI)
    assert "| channel | a\\|b'&lt;script&gt; # c | 30 | 0.5 |" in card
    (row,) = csv.DictReader(io.StringIO(slices_csv([hostile])))
    assert row == {"column": "channel", "value": hostile.value, "rows": "30", "metric": "0.5", "low": "", "high": ""}


def test_no_pyplot_is_imported() -> None:
    assert "pyplot" not in Path(draw_plots.__code__.co_filename).read_text().replace("No pyplot", "")
