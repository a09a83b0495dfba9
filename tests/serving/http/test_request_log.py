"""Lines that are added while others are written are neither lost nor doubled."""

import json
import sys
from collections.abc import Iterator
from io import StringIO

import pytest

from serving.clock import now
from serving.request_log import RequestLog


@pytest.fixture(autouse=True)
def hasty() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_no_line_is_lost_between_two_writings() -> None:
    stream = StringIO()
    log = RequestLog(now, stream, every=0.0)
    for number in range(20_000):
        log.write("request", number=number)
    log.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    dropped = sum(one["lines"] for one in lines if one["event"] == "lines-dropped")
    assert [one["number"] for one in lines if one["event"] == "request"] == list(range(20_000)) or dropped
    assert sum(one["event"] == "request" for one in lines) + dropped == 20_000
