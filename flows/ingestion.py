"""Ingest: read what every source delivers for a period, and land it as it came."""

from datetime import datetime

from prefect import flow

from flows.entry import main
from flows.occasion import occasion
from flows.policy import POLICY
from perennial.records import Received
from tasks.artifacts import publish_table, receipt_rows
from tasks.events import announce
from tasks.ingestion import receive_delivery


@flow(**POLICY, description="Read what every source delivers for a period, and land it as it came.")
def ingest(use_case: str, period: str | None = None, as_of: datetime | None = None) -> list[Received]:
    """Land one delivery per source.

    1. Read the rows of the period from each source; a reference table is read whole.
    2. Write them as one immutable file; the same content again is a no-op, another one the next revision.
    """
    with occasion(use_case, period, as_of) as this:
        sources = this.workspace.use_case.sources
        received = [receive_delivery(this.workspace, source, this.period, this.as_of) for source in sources]
        publish_table(use_case, "received", receipt_rows(received), f"What arrived for {this.period}")
        for one in received:
            told = {"source": one.source, "period": this.period.label, "as_of": this.as_of.isoformat()}
            announce(this.workspace, "delivery.received", one.path, told)
        return received


if __name__ == "__main__":
    main(ingest)
