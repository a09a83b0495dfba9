"""What a Prefect server has written down, from its own database: SQLite's file, opened for reading, or PostgreSQL."""

import sqlite3
from contextlib import closing
from typing import Any

import psycopg2

from tests.servers import Server


def written(server: Server, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a query that both databases understand, with `?` for each value.

    Past the API, so that nothing which the server adds, hides or counts for itself comes in between.
    """
    url = server.environment.get("PREFECT_SERVER_DATABASE_CONNECTION_URL")
    if url is None:
        with closing(sqlite3.connect(f"file:{server.home}/prefect.db?mode=ro", uri=True)) as file:
            return list(file.execute(query, values))
    with closing(psycopg2.connect(url.replace("+asyncpg", ""))) as connection, connection.cursor() as cursor:
        cursor.execute(query.replace("?", "%s"), values)
        return list(cursor.fetchall())
