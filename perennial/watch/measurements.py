"""A measurement as rows of the table `measurements`, one per number; it measures nothing."""

from datetime import datetime

import pyarrow as pa

from perennial.records import Interval, Measured

_SCHEMA = pa.schema(
    [
        ("period", pa.string()),
        ("as_of", pa.timestamp("us", "UTC")),
        ("release", pa.int64()),
        ("model_version", pa.int64()),
        ("name", pa.string()),
        ("subject", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("rows", pa.int64()),
    ]
)


def measurement_rows(measured: Measured, as_of: datetime) -> pa.Table:
    """Return the numbers of a measurement, `value` NULL where one is undefined.

    `name` is `labels`, or `performance` and `holdout` with a metric as `subject`, or `drift` with a column.
    """
    numbers: list[tuple[str, str, Interval]] = [
        ("labels", "", Interval(value=measured.labels, rows=measured.rows)),
        *(("performance", name, one) for name, one in measured.performance.items()),
        *(("holdout", name, one) for name, one in measured.reference.items()),
        *(("drift", name, Interval(value=value, rows=measured.rows)) for name, value in measured.drift.items()),
    ]
    same = {"period": measured.period, "as_of": as_of, "release": measured.release, "model_version": measured.version}
    rows = [same | {"name": name, "subject": about} | one.model_dump() for name, about, one in numbers]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)
