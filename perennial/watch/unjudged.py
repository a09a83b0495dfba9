"""Deliveries that landed and that nobody judged, as when the event of them was lost; pure, it starts nothing."""

from collections.abc import Collection, Iterable, Mapping

from perennial.data.landing import WHOLE
from perennial.records import Accepted, Entry, Received, Refused
from perennial.source_spec import Source


def unjudged(entries: Iterable[Entry], sources: Mapping[str, Source]) -> dict[str, Entry]:
    """Return, by period, the entry of the newest delivery that was received and neither accepted nor refused.

    Only the newest revision of a delivery counts, and a period once every source has delivered for it: they are judged
    together. A reference table is judged with the newest of these periods.
    """
    received: dict[tuple[str, str], Entry] = {}
    judged: dict[tuple[str, str], int] = {}
    for entry in entries:
        match entry.record:
            case Received(source=source, period=period) if source in sources:
                received[source, period] = entry
            case Accepted(source=source, period=period, revision=revision):
                judged[source, period] = revision
            case Refused(source=source, period=period, revision=revision):
                judged[source, period] = revision
    complete = _complete(received.keys(), sources)
    found: dict[str, Entry] = {}
    for (source, period), entry in sorted(received.items(), key=lambda one: one[1].seq):
        label = complete[-1] if complete and period == WHOLE else period
        if label in complete and judged.get((source, period)) != _revision(entry):
            found[label] = entry
    return found


def _revision(entry: Entry) -> int:
    assert isinstance(entry.record, Received)
    return entry.record.revision


def _complete(received: Collection[tuple[str, str]], sources: Mapping[str, Source]) -> list[str]:
    periods = sorted({period for _, period in received} - {WHOLE})
    wanted = {name: WHOLE if one.is_reference else "" for name, one in sources.items()}
    return [one for one in periods if all((name, whole or one) in received for name, whole in wanted.items())]
