"""The work of `flat.py` through the flows, as a process of its own for `make bench`."""

import sys

from blocks.documents import read_settings, using
from blocks.local import local_run
from flows.deployment import deploy
from flows.entry import run_to_end
from flows.ingestion import ingest
from flows.monitoring import monitor
from flows.prediction import predict
from flows.registration import register
from flows.training import train
from flows.validation import validate
from perennial.periods import Period

SLUG = sys.argv[1]
PERIODS = [Period.parse(label) for label in ("2013-01", "2013-02", "2013-03", "2013-04")]


def main() -> None:
    """Three months to train on, one to score and to watch."""
    settings = read_settings()
    with local_run(settings), using(settings):
        for period in PERIODS[:3]:
            ingest(SLUG, period.label, period.end)
            validate(SLUG, period.label, period.end)
        newest = PERIODS[2]
        for stage in (train, register, deploy):
            stage(SLUG, newest.label, newest.end)
        for stage in (ingest, validate, predict, monitor):
            stage(SLUG, PERIODS[3].label, PERIODS[3].end)


if __name__ == "__main__":
    run_to_end(main)
