"""Which deliveries landed and were never judged."""

import pytest

from perennial.records import Accepted, Entry, Received, Record, Refused
from perennial.source_spec import Source
from perennial.watch.unjudged import unjudged
from tests.builders import make_use_case, moment


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Source]:
    """Orders and outcomes by the month, and a reference table of shops."""
    return make_use_case(tmp_path_factory.mktemp("sources"), rows=1, months=()).use_case.sources


def received(source: str, period: str, revision: int = 1) -> Received:
    return Received(source=source, period=period, revision=revision, digest=f"{revision}", rows=1, path="landed")


def delivered(month: str) -> list[Record]:
    return [received("orders", month), received("outcomes", month)]


def accepted(source: str, period: str, revision: int = 1) -> Accepted:
    told = {"digest": f"{revision}", "contract": "c", "rows": 1, "accepted": 1, "quarantined": 0}
    return Accepted(source=source, period=period, revision=revision, reasons={}, partition="p", table_version=1, **told)


def refused(source: str, period: str) -> Refused:
    told = {"digest": "1", "contract": "c", "rows": 1, "reasons": {}, "summary": "Too few rows."}
    return Refused(source=source, period=period, revision=1, **told)


def found(sources: dict[str, Source], *records: Record) -> dict[str, int]:
    entries = [
        Entry(seq=number, previous="", at=moment("2024-06-01"), record=one) for number, one in enumerate(records, 1)
    ]
    return {period: entry.seq for period, entry in unjudged(entries, sources).items()}


SHOPS = received("shops", "whole")
JUDGED = [accepted("orders", "2024-05"), accepted("outcomes", "2024-05"), accepted("shops", "whole")]


def test_a_period_is_unjudged_until_every_source_of_it_was_accepted_or_refused(sources: dict[str, Source]) -> None:
    landed = [*delivered("2024-05"), SHOPS]
    assert found(sources, *landed) == {"2024-05": 3}
    assert found(sources, *landed, *JUDGED[:1]) == {"2024-05": 3}
    assert found(sources, *landed, *JUDGED) == {}
    assert found(sources, *landed, *JUDGED[1:], refused("orders", "2024-05")) == {}


def test_a_period_waits_for_the_sources_that_have_not_delivered(sources: dict[str, Source]) -> None:
    assert found(sources, received("orders", "2024-05"), SHOPS) == {}
    assert found(sources, *delivered("2024-05")) == {}
    assert found(sources) == {}


def test_a_corrected_delivery_is_unjudged_again_also_with_the_content_of_an_older_one(
    sources: dict[str, Source],
) -> None:
    landed = [*delivered("2024-05"), SHOPS, *JUDGED]
    corrected = [received("orders", "2024-05", 2), accepted("orders", "2024-05", 2)]
    back = received("orders", "2024-05", 3).model_copy(update={"digest": "1"})
    assert found(sources, *landed, corrected[0]) == {"2024-05": 7}
    assert found(sources, *landed, *corrected) == {}
    assert found(sources, *landed, *corrected, back) == {"2024-05": 9}


def test_a_reference_table_is_judged_with_the_newest_period(sources: dict[str, Source]) -> None:
    both = [*delivered("2024-04"), *delivered("2024-05"), SHOPS, *JUDGED]
    months = [accepted("orders", "2024-04"), accepted("outcomes", "2024-04")]
    assert found(sources, *both) == {"2024-04": 2}
    assert found(sources, *both, *months, received("shops", "whole", 2)) == {"2024-05": 11}


def test_a_source_that_is_no_longer_declared_waits_for_nobody(sources: dict[str, Source]) -> None:
    assert found(sources, *delivered("2024-05"), SHOPS, *JUDGED, received("weather", "2024-05")) == {}
