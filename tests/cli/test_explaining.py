"""`perennial explain` where there is nothing to explain."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.builders import make_use_case


@pytest.mark.parametrize(
    ("asked", "told"),
    [(["shop-returns"], "`shop-returns` declares no `serving`"), ([], "no use case here declares `serving`")],
)
def test_who_answers_nobody_is_named(
    asked: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_use_case(tmp_path, rows=5).settings
    monkeypatch.setenv("PERENNIAL_STORAGE_ROOT", settings.storage_root)
    monkeypatch.setenv("PERENNIAL_USE_CASES", settings.use_cases)
    done = CliRunner().invoke(app, ["explain", *asked, "--request-id", "nope", "--json"])
    assert done.exit_code == 1
    assert f"`nope` was not answered: {told}." in done.stdout
