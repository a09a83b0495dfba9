"""Validate: judge what was ingested by its contract; good rows reach the lake, bad ones quarantine."""

from datetime import datetime

from prefect import flow

from flows.entry import main
from flows.occasion import Occasion, occasion
from flows.policy import POLICY
from perennial.data.acceptance import DeliveryRefused
from perennial.data.landing import WHOLE, newest_received
from perennial.errors import Permanent
from perennial.records import Accepted, Received
from tasks.artifacts import delivery_report, publish_markdown
from tasks.events import tell
from tasks.validation import accept_delivery


class NothingReceived(Permanent):
    """A source has delivered nothing for the period yet."""


@flow(**POLICY, description="Judge what was ingested for a period by its contract, source by source.")
def validate(use_case: str, period: str | None = None, as_of: datetime | None = None) -> list[Accepted]:
    """Accept the newest delivery of every source.

    1. Find the newest landed file of each source for the period.
    2. Check its columns and volume, then its rows; too many bad rows refuse the delivery whole.
    3. Move good rows to the lake and bad ones, with their reasons, to quarantine.
    """
    with occasion(use_case, period, as_of) as this:
        received = [_newest(this, source) for source in this.workspace.use_case.sources]
        accepted = [_accept(this, one) for one in received]
        publish_markdown(use_case, "deliveries", delivery_report(accepted), f"Deliveries of {this.period}")
        for one in accepted:
            tell(this.workspace, one, this.as_of)
        return accepted


def _accept(this: Occasion, received: Received) -> Accepted:
    try:
        return accept_delivery(this.workspace, received, this.as_of)
    except DeliveryRefused as refusal:
        tell(this.workspace, refusal.refused, this.as_of)
        raise


def _newest(this: Occasion, source: str) -> Received:
    is_reference = this.workspace.use_case.sources[source].is_reference
    period = WHOLE if is_reference else this.period.label
    found = newest_received(this.workspace.state().received, source, period)
    if found is None:
        raise NothingReceived(
            f"`{this.slug}`: source `{source}` has delivered nothing for `{period}`. "
            f"Run `perennial ingest {this.slug} --period {this.period}` first."
        )
    return found


if __name__ == "__main__":
    main(validate)
