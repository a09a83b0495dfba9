"""Pictures of how a model does on its holdout, as PNG bytes; the only module that imports matplotlib.

Equal scores give equal bytes: nothing is stamped with a time or a version. No pyplot, and the style, which
matplotlib keeps for the whole process, is set under a lock, so threads may draw.
"""

import io
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial.model.metrics import Scores, Vector
from perennial.records import Interval

_BLUE, _ORANGE, _GREY, _INK = "#2563a8", "#d97706", "#9ca3af", "#1f2937"
_STYLE: Any = {
    "font.size": 10.5,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": "#d1d5db",
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eceff3",
    "xtick.color": "#6b7280",
    "ytick.color": "#6b7280",
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "savefig.dpi": 130,
}
_ONE_AT_A_TIME = threading.Lock()
_MOST_POINTS = 1000
_BINS = 10
_TOP = 20


def draw_plots(task: str, scores: Scores, metrics: Mapping[str, Interval]) -> dict[str, bytes]:
    """Draw what a task is judged by, as file name to PNG.

    Args:
        task: `binary` gives ROC, precision and recall, and calibration; `regression` predicted against actual,
            residuals, and calibration.
        scores: Of the holdout; a plot that they do not allow, as a ROC curve of one class, is left out.
        metrics: Of the same scores, for the captions.
    """
    y, score = scores.y, scores.score
    finite = np.isfinite(y) & np.isfinite(score)
    y, score = y[finite], score[finite]
    if task == "regression":
        drawings = {"predicted-vs-actual": _predicted, "residuals": _residuals, "calibration": _calibration_of_values}
        return {f"{name}.png": _png(draw, y, score, metrics) for name, draw in drawings.items() if len(y)}
    drawings = {"calibration": _calibration_of_probabilities}
    if 0 < y.sum() < len(y):
        drawings |= {"roc": _roc, "precision-recall": _precision_recall}
    return {f"{name}.png": _png(draw, y, score, metrics) for name, draw in drawings.items() if len(y)}


def draw_importance(importance: Mapping[str, float]) -> bytes:
    """Draw the most important features, at most 20, as PNG; values are shares of the whole."""
    return _png(_importance, importance, size=(7.2, 1.3 + 0.27 * max(3, min(_TOP, len(importance)))))


def _png(draw: Callable[..., None], *of: Any, size: tuple[float, float] = (6.4, 5.0)) -> bytes:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _ONE_AT_A_TIME, matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure, *of)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _roc(figure: Any, y: Vector, score: Vector, metrics: Mapping[str, Interval]) -> None:
    ups, downs = _counts_from_the_top(y, score)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1.2, linestyle="--", label="by chance")
    x, line = _thinned(downs / downs[-1], ups / ups[-1])
    axes.fill_between(x, line, color=_BLUE, alpha=0.08, linewidth=0)
    axes.plot(x, line, color=_BLUE, label=_caption("ROC AUC", metrics.get("roc_auc")))
    _frame(axes, "ROC curve", "False positive rate", "True positive rate (recall)", "lower right")


def _precision_recall(figure: Any, y: Vector, score: Vector, metrics: Mapping[str, Interval]) -> None:
    ups, downs = _counts_from_the_top(y, score)
    axes = figure.add_subplot()
    rate = float(y.mean())
    axes.axhline(rate, color=_GREY, linewidth=1.2, linestyle="--", label=f"by chance {rate:.3f}")
    x, line = _thinned((ups / ups[-1])[1:], (ups / np.maximum(ups + downs, 1))[1:])
    axes.plot(x, line, color=_BLUE, label=_caption("average precision", metrics.get("average_precision")))
    _frame(axes, "Precision and recall", "Recall", "Precision", "upper right")


def _calibration_of_probabilities(figure: Any, y: Vector, score: Vector, metrics: Mapping[str, Interval]) -> None:
    axes, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    predicted, observed, count = _binned(y, score)
    half = 1.96 * np.sqrt(np.maximum(observed * (1 - observed), 1e-9) / count)
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1.2, linestyle="--", label="perfect")
    axes.errorbar(
        predicted, observed, yerr=half, color=_BLUE, marker="o", markersize=5, capsize=2, elinewidth=1.2,
        label=_caption("log loss", metrics.get("log_loss")),
    )  # fmt: skip
    _frame(axes, "Calibration", "", "Share that was positive", "upper left")
    below.hist(score, bins=np.linspace(0, 1, 51).tolist(), color=_BLUE, alpha=0.75)
    below.set(xlabel="Predicted probability", ylabel="Rows", xlim=(-0.02, 1.02))
    below.yaxis.set_major_locator(_few_ticks())


def _calibration_of_values(figure: Any, y: Vector, score: Vector, metrics: Mapping[str, Interval]) -> None:
    axes = figure.add_subplot()
    predicted, observed, count = _binned(y, score)
    low, high = _limits(np.concatenate([predicted, observed]))
    axes.plot([low, high], [low, high], color=_GREY, linewidth=1.2, linestyle="--", label="perfect")
    axes.plot(predicted, observed, color=_BLUE, marker="o", markersize=5, label=f"tenths of {count.sum():,} rows")
    axes.set(xlim=(low, high), ylim=(low, high))
    _label(axes, "Calibration", "Mean prediction", "Mean of what came", "upper left")


def _predicted(figure: Any, y: Vector, score: Vector, metrics: Mapping[str, Interval]) -> None:
    axes = figure.add_subplot()
    low, high = _limits(np.concatenate([y, score]))
    _cloud(figure, axes, y, score, (low, high, low, high))
    axes.plot([low, high], [low, high], color=_ORANGE, linewidth=1.4, label=_caption("RMSE", metrics.get("rmse")))
    _label(axes, "Predicted against actual", "Actual", "Predicted", "upper left")


def _residuals(figure: Any, y: Vector, score: Vector, metrics: Mapping[str, Interval]) -> None:
    axes = figure.add_subplot()
    error = y - score
    _cloud(figure, axes, score, error, (*_limits(score), *_limits(error)))
    axes.axhline(0, color=_INK, linewidth=1)
    groups = [group for group in np.array_split(np.argsort(score, kind="stable"), 2 * _BINS) if len(group)]
    middle = [float(np.mean(score[group])) for group in groups]
    for share, line in ((0.1, "--"), (0.5, "-"), (0.9, "--")):
        label = {0.5: "median of the residuals", 0.1: "their 10th and 90th percentile"}.get(share)
        axes.plot(
            middle, [np.quantile(error[group], share) for group in groups], line, color=_ORANGE, linewidth=1.6,
            label=label,
        )  # fmt: skip
    _label(axes, "Residuals", "Predicted", "Actual minus predicted", "upper left")


def _importance(figure: Any, importance: Mapping[str, float]) -> None:
    axes = figure.add_subplot()
    total = sum(importance.values()) or 1.0
    top = sorted(importance.items(), key=lambda one: (-one[1], one[0]))[:_TOP]
    names, shares = [name for name, _ in top], [value / total for _, value in top]
    bars = axes.barh(names, shares, color=_BLUE, height=0.68)
    axes.bar_label(bars, labels=[f"{share:.1%}" for share in shares], padding=4, color="#6b7280", fontsize=9)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=_INK)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.margins(x=0.12)
    shown = f"{len(top)} of {len(importance)} features" if len(importance) > _TOP else f"{len(top)} features"
    axes.set_title(f"Importance of {shown}")


def _cloud(figure: Any, axes: Any, x: Vector, y: Vector, extent: tuple[float, ...]) -> None:
    if len(x) <= 2 * _MOST_POINTS:
        axes.scatter(x, y, s=9, color=_BLUE, alpha=0.35, linewidths=0)
    else:
        hexagons = axes.hexbin(x, y, gridsize=60, extent=extent, bins="log", cmap="Blues", mincnt=1, linewidths=0.1)
        bar = figure.colorbar(hexagons, ax=axes, label="rows", shrink=0.7, pad=0.02)
        bar.outline.set_visible(False)
    axes.set(xlim=extent[:2], ylim=extent[2:])


def _frame(axes: Any, title: str, x: str, y: str, legend: str) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    _label(axes, title, x, y, legend)


def _label(axes: Any, title: str, x: str, y: str, legend: str) -> None:
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.legend(loc=legend)


def _caption(name: str, found: Interval | None) -> str:
    if found is None or found.value is None:
        return name
    around = f" [{found.low:.3g}, {found.high:.3g}]" if found.low is not None and found.high is not None else ""
    return f"{name} {found.value:.3g}{around}"


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(2, integer=True)


def _limits(values: Vector) -> tuple[float, float]:
    low, high = (float(one) for one in np.quantile(values, (0.001, 0.999)))
    room = 0.05 * (high - low) or max(1.0, abs(high)) * 0.05
    return low - room, high + room


def _counts_from_the_top(y: Vector, score: Vector) -> tuple[Vector, Vector]:
    order = np.argsort(-score, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(score[order])), len(y) - 1)
    ups = np.cumsum(y[order])[last_of_ties]
    return np.append(0.0, ups), np.append(0.0, last_of_ties + 1 - ups)


def _thinned(x: Vector, y: Vector) -> tuple[Vector, Vector]:
    kept: NDArray[np.intp] = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).astype(np.intp))
    return x[kept], y[kept]


def _binned(y: Vector, score: Vector) -> tuple[Vector, Vector, NDArray[np.intp]]:
    groups = [group for group in np.array_split(np.argsort(score, kind="stable"), _BINS) if len(group)]
    predicted = np.array([score[group].mean() for group in groups])
    observed = np.array([y[group].mean() for group in groups])
    return predicted, observed, np.array([len(group) for group in groups])
