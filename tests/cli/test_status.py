"""What `perennial status` tells of one use case."""

from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from cli.status import draw, status_of
from perennial.records import RetrainingDecided
from tests.builders import make_use_case
from tests.perennial.release.trials import record


def test_the_reasons_of_a_decision_are_sentences_after_each_other(tmp_path: Path) -> None:
    ws, now = make_use_case(tmp_path, rows=5), datetime(2024, 5, 1, tzinfo=UTC)
    record(ws, RetrainingDecided(period="2024-04", action="nothing", reasons=("It is well.", "It is new.")), now)
    console = Console(width=80)
    with console.capture() as printed:
        console.print(draw(status_of(ws, now), "roc_auc"))
    assert "nothing: It is well. It is new.\n" in "\n".join(map(str.rstrip, printed.get().splitlines())) + "\n"
