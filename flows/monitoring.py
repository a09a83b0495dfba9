"""Monitor: measure how the serving version did in a period, and say what is wrong."""

from datetime import datetime

from prefect import flow

from flows.entry import main
from flows.occasion import Occasion, occasion
from flows.policy import POLICY
from perennial.records import Measured
from tasks.artifacts import drift_rows, measurement_report, publish_markdown, publish_report, publish_table
from tasks.events import tell
from tasks.monitoring import measure_period


@flow(**POLICY, description="Measure contract violations, drift and performance of a scored period.")
def monitor(use_case: str, period: str | None = None, as_of: datetime | None = None) -> Measured:
    """Measure a scored period with what is known by now.

    1. Compare its features and scores with those the model was judged on.
    2. Score the predictions by the labels that have arrived.
    3. Report what a person should look at, and tell it to automations.
    """
    with occasion(use_case, period, as_of) as this:
        measured = measure_period(this.workspace, this.period, this.as_of)
        _show(this, measured)
        tell(this.workspace, measured, this.as_of)
        return measured


def _show(this: Occasion, measured: Measured) -> None:
    about = f"{measured.period} under version {measured.version}"
    publish_markdown(this.slug, "measurement", measurement_report(measured), f"Measurement of {about}")
    publish_table(this.slug, "drift", drift_rows(measured), f"Drift of {about}")
    if measured.report:
        place = this.workspace.store.uri(measured.report)
        publish_report(this.slug, place, f"Evidently report with sampled distributions of {about}: {place}")


if __name__ == "__main__":
    main(monitor)
