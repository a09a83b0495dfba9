"""Rows of a real PostgreSQL belong to the period that they name in UTC, whatever zone its sessions begin in."""

from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from perennial.data.sources import read_delivery
from perennial.periods import Period
from tests.perennial.data.parcels import FEBRUARY, JANUARY, declare, open_parcels
from tests.storage_servers import Postgres, postgres_server

pytestmark = pytest.mark.long

TABLE = """
ALTER DATABASE parcels SET timezone TO 'America/New_York';
CREATE TABLE parcels (id text, sent_at timestamp, seen_at timestamptz);
INSERT INTO parcels VALUES
  ('first of January', '2024-01-01 00:00', '2024-01-01 00:00+00'),
  ('last of January', '2024-01-31 23:59:59.5', '2024-01-31 23:59:59.5+00'),
  ('first of February', '2024-02-01 00:00', '2024-02-01 00:00+00');
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_server(["parcels"]) as server:
        with psycopg2.connect(server.url("parcels")) as connection, connection.cursor() as cursor:
            cursor.execute(TABLE)
        connection.close()
        yield server


@pytest.mark.parametrize("column", ["sent_at", "seen_at"])
@pytest.mark.parametrize("bounds", [" WHERE {0} >= :start AND {0} < :end", ""])
@pytest.mark.parametrize(
    ("period", "ids"), [(JANUARY, ["first of January", "last of January"]), (FEBRUARY, ["first of February"])]
)
def test_rows_are_in_the_period_that_they_name_in_utc(
    postgres: Postgres, tmp_path: Path, column: str, bounds: str, period: Period, ids: list[str]
) -> None:
    assert postgres.ask("parcels", "SHOW timezone") == [("America/New_York",)]
    query = f"SELECT id, {column} AS sent_at FROM parcels{bounds.format(column)} ORDER BY {column}"
    ws = declare(open_parcels(tmp_path), read={"sql": postgres.url("parcels"), "query": query})
    assert read_delivery(ws, "parcels", period).read_all()["id"].to_pylist() == ids
