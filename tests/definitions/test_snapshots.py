"""What runs in each environment is what was reviewed, in a text short enough to be read."""

import pytest

from tests.definitions.snapshots import HERE, snapshot


@pytest.mark.parametrize("environment", ["dev", "test", "prod"])
def test_what_is_declared_is_what_was_reviewed(environment: str) -> None:
    reviewed = (HERE / f"{environment}.txt").read_text()
    assert len(reviewed.splitlines()) < 200
    assert snapshot(environment) == reviewed, "if it is meant: `python -m tests.definitions.snapshots`, and review it"
