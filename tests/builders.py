"""Small use cases made of generated CSV files, for tests that need the whole lifecycle; it asserts nothing.

`shop-returns` asks whether an order comes back. Orders and their outcomes arrive month by month, shops are a
reference table. The truth is a logistic function of price, channel and shop, so that an honest model reaches an
area under the curve of about 0.8 and a baseline 0.5.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import yaml

from perennial.periods import Period
from perennial.settings import Settings
from perennial.workspace import Workspace

MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04")
CHANNELS = ("app", "store", "web")
SHOPS = ("aachen", "bonn", "celle", "dresden")

HONEST = "h.known_at < o.event_time"
LEAKY = "h.order_id = o.order_id"


def make_use_case(
    folder: Path,
    *,
    rows: int = 400,
    months: Sequence[str] = MONTHS,
    leak: bool = False,
    task: str = "binary",
    changes: dict[str, Any] | None = None,
) -> Workspace:
    """Write `use_cases/shop-returns` with its deliveries below a folder, and open it with its storage beside it.

    Args:
        folder: An empty folder, as pytest's `tmp_path`.
        rows: Orders per month.
        months: Periods to write deliveries for.
        leak: Let a feature see the label of its own row, before it is known.
        task: `binary` predicts `returned`, `regression` predicts `refund`.
        changes: Merged into `use_case.yaml`, dictionaries key by key.
    """
    home = folder / "use_cases" / "shop-returns"
    home.mkdir(parents=True)
    (home / "use_case.yaml").write_text(yaml.safe_dump(_merged(_declaration(task), changes or {}), sort_keys=False))
    (home / "features.sql").write_text(features_sql(leak))
    _write(home, "shops", "whole", {"shop": list(SHOPS), "size": [1.0, 2.0, 3.0, 4.0]})
    for number, month in enumerate(months):
        write_month(home, month, rows, seed=number)
    settings = Settings(
        environment="test",
        storage_root=str(folder / "storage"),
        use_cases=str(folder / "use_cases"),
        threads=2,
        memory_limit="1GB",
    )
    return Workspace.open("shop-returns", settings)


def write_month(home: Path, month: str, rows: int, seed: int, *, shuffled: bool = False) -> None:
    """Write the orders and outcomes of a month; shuffled outcomes have nothing to do with the orders."""
    random = np.random.default_rng(seed)
    period = Period.parse(month)
    seconds = np.sort(random.integers(0, int((period.end - period.start).total_seconds()), rows))
    ordered_at = [period.start + timedelta(seconds=int(one)) for one in seconds]
    order_id = [f"{month}-{number:06d}" for number in range(rows)]
    price = np.round(random.gamma(2.0, 30.0, rows), 2)
    channel = random.integers(0, len(CHANNELS), rows)
    shop = random.integers(0, len(SHOPS), rows)
    odds = 0.03 * (price - 60) + 1.5 * (channel == 0) - 0.5 * shop
    returned = (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(int)
    refund = np.round(price * 0.5 + 10 * (channel == 0) + random.normal(0, 2, rows), 2)
    if shuffled:
        order = random.permutation(rows)
        returned, refund = returned[order], refund[order]
    orders = {"order_id": order_id, "ordered_at": ordered_at, "price": price}
    orders |= {"channel": np.array(CHANNELS)[channel], "shop": np.array(SHOPS)[shop]}
    _write(home, "orders", month, orders)
    outcomes = {"order_id": order_id, "ordered_at": ordered_at, "returned": returned, "refund": refund}
    _write(home, "outcomes", month, outcomes)


def features_sql(leak: bool = False) -> str:
    """Return the features query: the order, its shop, and how often the shop's orders were known to come back."""
    return f"""\
SELECT
  o.order_id,
  o.event_time,
  o.price,
  o.channel,
  o.shop,
  s.size AS shop_size,
  (SELECT avg(h.label) FROM labels h WHERE {LEAKY if leak else HONEST}) AS known_rate
FROM observations o
LEFT JOIN shops s USING (shop)
"""


def deliver(workspace: Workspace, *periods: str, as_of: datetime | None = None) -> None:
    """Receive and accept all sources for some periods, the reference table first, at the end of each by default."""
    from perennial.data.acceptance import accept
    from perennial.data.landing import receive

    for label in periods:
        period = Period.parse(label)
        for name in sorted(
            workspace.use_case.sources, key=lambda one: not workspace.use_case.sources[one].is_reference
        ):
            when = as_of or period.end
            accept(workspace, receive(workspace, name, period, when), when)


def moment(text: str) -> datetime:
    """Read a date or time as UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _write(home: Path, source: str, period: str, columns: dict[str, Any]) -> None:
    (home / "deliveries").mkdir(exist_ok=True)
    pyarrow.csv.write_csv(pa.table(columns), home / "deliveries" / f"{source}-{period}.csv")


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(base[key], value) for key, value in changes.items() if _are_dicts(base.get(key), value)}
    return base | changes | both


def _are_dicts(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


def _declaration(task: str) -> dict[str, Any]:
    binary = task == "binary"
    baseline, linear = ("majority", "logistic_regression") if binary else ("mean", "ridge")
    return {
        "title": "Orders that come back",
        "task": task,
        "every": "month",
        "entity": "orders",
        "sources": {
            "orders": {
                "read": {"csv": "shop-returns/deliveries/orders-{period}.csv"},
                "key": ["order_id"],
                "event_time": "ordered_at",
                "columns": {
                    "order_id": {"type": "string"},
                    "ordered_at": {"type": "timestamp"},
                    "price": {"type": "number", "min": 0},
                    "channel": {"type": "string", "values": list(CHANNELS)},
                    "shop": {"type": "string"},
                },
            },
            "outcomes": {
                "read": {"csv": "shop-returns/deliveries/outcomes-{period}.csv"},
                "key": ["order_id"],
                "event_time": "ordered_at",
                "known_after": "7d",
                "columns": {
                    "order_id": {"type": "string"},
                    "ordered_at": {"type": "timestamp"},
                    "returned": {"type": "integer", "min": 0, "max": 1},
                    "refund": {"type": "number"},
                },
            },
            "shops": {
                "read": {"csv": "shop-returns/deliveries/shops-whole.csv"},
                "key": ["shop"],
                "columns": {"shop": {"type": "string"}, "size": {"type": "number"}},
            },
        },
        "label": {
            "source": "outcomes",
            "value": "returned" if binary else "refund",
            "matures_after": "7d",
        },
        "metrics": {"primary": "roc_auc" if binary else "rmse", "also": ["log_loss"] if binary else ["mae"]},
        "training": {
            "validation": "14d",
            "holdout": "21d",
            "min_rows": 100,
            "candidates": {
                baseline: {"estimator": baseline},
                "linear": {"estimator": linear},
                "xgboost": {
                    "estimator": "xgboost",
                    "params": {"rounds": 30, "max_depth": 3, "learning_rate": 0.2},
                },
            },
        },
        "gate": {
            "floor": 0.65 if binary else 30.0,
            "resamples": 300,
            "min_rows": 100,
            "slices": {"columns": ["channel"], "min_rows": 30, "max_loss": 0.2 if binary else 10.0},
        },
        "monitoring": {"min_labels": 50, "report_rows": 200},
    }
