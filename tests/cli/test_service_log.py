"""Lines of the online service on a terminal."""

import json

from cli.service_log import readable

AT = "2026-11-25T09:11:15.5+00:00"


def line(**fields: object) -> str:
    return json.dumps({"at": AT, **fields}) + "\n"


def test_an_event_is_its_time_its_name_and_its_fields() -> None:
    assert readable(line(event="swap.done", release=3, version=5)) == "09:11:15  swap.done  release=3  version=5"


def test_only_requests_that_failed_are_shown_unless_all_are_asked_for() -> None:
    well, failed = line(event="request", status=200, seconds=0.0012345), line(event="request", status=422)
    assert readable(well) is None
    assert readable(well, verbose=True) == "09:11:15  request  status=200  seconds=0.001234"
    assert readable(failed) == "09:11:15  request  status=422"


def test_what_is_no_event_stays_as_it_is() -> None:
    assert readable("Traceback (most recent call last):\n") == "Traceback (most recent call last):"
    assert readable("[1, 2]\n") == "[1, 2]"
    assert readable("\n") is None
