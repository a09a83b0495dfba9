"""`prefect.yaml` is read as `prefect deploy` reads it."""

from pathlib import Path

import pytest

from deployments.definition import InvalidDefinition, read_definition


def test_the_environment_is_filled_in() -> None:
    deployments = read_definition("prod")["deployments"]
    assert {one["name"] for one in deployments} == {"prod"}
    assert {one["work_pool"]["job_variables"]["env"]["PERENNIAL_ENV"] for one in deployments} == {"prod"}


def test_a_placeholder_that_nothing_fills_in_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "prefect.yaml"
    path.write_text('name: x\nversion: "{{ $REVISION }}"\n')
    with pytest.raises(InvalidDefinition, match=r"line 2 .*REVISION"):
        read_definition("prod", path)
