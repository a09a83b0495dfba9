"""Ten million rows through ingestion, validation and features: the flights of 2013, thirty times over.

Each copy of a flight has keys, tail number and flight number of its own day, so that joins and windows work as hard
as they would on as many flights.
"""

import shutil
import sys
import time
from pathlib import Path

from perennial.data.acceptance import accept
from perennial.data.features import build_features
from perennial.data.landing import receive
from perennial.periods import Period
from perennial.settings import Settings
from perennial.workspace import Workspace

ROOT = Path(__file__).parents[2]
SLUG, FOLDER, COPIES, MONTHS = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

WRAPPER = """

def _repeat(rows, window):
    kind = pa.table(rows.slice(0, 0)).schema
    for copy in range({copies}):
        frame = pl.from_arrow(rows)
        text = [one for one in ("flight_id", "tailnum") if one in frame.columns]
        changed = frame.with_columns([pl.col(one) + f"+{{copy}}" for one in text])
        yield from changed.to_arrow().cast(kind).to_batches(max_chunksize=131_072)


def many_flights(window):
    rows = flights(window)
    return pa.RecordBatchReader.from_batches(rows.schema, _repeat(rows, window))


def many_arrivals(window):
    rows = arrivals(window)
    return pa.RecordBatchReader.from_batches(rows.schema, _repeat(rows, window))
"""


def workspace() -> Workspace:
    """Copy the use case and let its adapters repeat their rows."""
    home = FOLDER / "use_cases" / SLUG
    shutil.copytree(ROOT / "use_cases" / SLUG, home)
    source = home / "source.py"
    source.write_text(source.read_text() + WRAPPER.format(copies=COPIES))
    spec = home / "use_case.yaml"
    text = spec.read_text().replace("source.py:flights", "source.py:many_flights")
    text = text.replace("source.py:arrivals", "source.py:many_arrivals")
    text = text.replace("max_rows: 60000", "max_rows: 60000000")
    text = text.replace("/[A-Z]{3}'", "/[A-Z]{3}\\+\\d+'")
    spec.write_text(text)
    settings = Settings(environment="bench", storage_root=str(FOLDER / "storage"), use_cases=str(FOLDER / "use_cases"))
    return Workspace.open(SLUG, settings)


def main() -> None:
    """Print rows, quarantined rows and seconds per stage."""
    ws = workspace()
    spent = dict.fromkeys(("ingest", "validate", "features"), 0.0)
    rows = features = quarantined = 0
    period = Period.parse("2013-01")
    for _ in range(MONTHS):
        for source in ws.use_case.sources:
            started = time.monotonic()
            received = receive(ws, source, period, period.end)
            spent["ingest"] += time.monotonic() - started
            started = time.monotonic()
            accepted = accept(ws, received, period.end)
            spent["validate"] += time.monotonic() - started
            if source in ("flights", "arrivals"):
                rows, quarantined = rows + accepted.rows, quarantined + accepted.quarantined
        started = time.monotonic()
        features += build_features(ws, period, period.end).rows
        spent["features"] += time.monotonic() - started
        period = period.next()
    told = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in spent.items())
    print(f"{rows:,} rows in, {quarantined:,} quarantined, {features:,} rows of features: {told}")


if __name__ == "__main__":
    main()
