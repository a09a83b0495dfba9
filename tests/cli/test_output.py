"""What commands tell people, and print for machines: JSON, whatever it is made of."""

import json
from datetime import UTC, datetime

import pytest

from cli.output import plain, tell_error
from perennial.errors import PerennialError
from perennial.storage_trouble import StoreAway, StoreRefused

KINDS = [(StoreAway, True, "Trying again may help."), (StoreRefused, False, "Trying again alone does not help.")]


@pytest.mark.parametrize(("kind", "retry", "advice"), KINDS)
def test_an_error_says_whether_trying_again_helps(
    kind: type[PerennialError], retry: bool, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_error(kind("The store did not answer."), as_json=True)
    told = {"error": kind.__name__, "message": "The store did not answer.", "retry": retry}
    assert json.loads(capsys.readouterr().out) == told
    tell_error(kind("The store did not answer."), as_json=False)
    assert " ".join(capsys.readouterr().err.split()) == f"{kind.__name__}: The store did not answer. {advice}"


def test_a_moment_is_written_in_its_standard_form() -> None:
    told = {"services": [{"features_at": datetime(2013, 2, 1, 6, tzinfo=UTC)}]}
    assert json.loads(json.dumps(plain(told))) == {"services": [{"features_at": "2013-02-01T06:00:00+00:00"}]}
