"""What `perennial status` and the end of a backfill tell of this machine, on a terminal of 80 columns."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli.closing import say_where
from cli.services import draw_services
from perennial.settings import Settings


def row(service: str, port: int, is_running: bool = True) -> dict[str, Any]:
    address = f"http://127.0.0.1:{port}"
    return {"service": service, "running": is_running, "address": address, "pid": 1234567, "memory_mb": 1400}


@pytest.fixture
def console() -> Console:
    return Console(file=StringIO(), width=80, force_terminal=False)


def printed(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_addresses_stay_whole_when_a_service_has_ended(console: Console) -> None:
    rows = [row("prefect", 4200), row("serve-flight-delay", 8080), row("serve-card-fraud", 8081, False)]
    console.print(draw_services(rows, "dev"))
    told = printed(console)
    assert all(one["address"] in told for one in rows)
    assert "`perennial up` starts again what has ended" in told
    assert len(told.splitlines()) == 5


def test_without_a_report_it_says_so(console: Console, tmp_path: Path) -> None:
    settings = Settings(environment="test", storage_root=str(tmp_path))
    say_where({"shop": {"report": None}, "shop-returns": {"report": "r.html"}}, settings, console)
    assert "shop: no report yet\nshop-returns: newest report r.html" in printed(console)
