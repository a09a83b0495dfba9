"""How an expected error is told to people and to machines."""

import json

import pytest

from cli.output import tell_error
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
