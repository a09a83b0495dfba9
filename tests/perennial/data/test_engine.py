import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from perennial.data.engine import Engine, QueryFailed, parquet, quote, quote_text, quote_time
from perennial.settings import Settings


@pytest.fixture
def engine(tmp_path: Path):
    with Engine(Settings(environment="test", storage_root=str(tmp_path), memory_limit="1GB")) as engine:
        yield engine


def test_engines_of_one_process_see_nothing_of_each_other_and_leave_nothing(engine: Engine, tmp_path: Path):
    with Engine(Settings(environment="test", storage_root=str(tmp_path), memory_limit="1GB")) as other:
        for one, value in ((engine, 1), (other, 2)):
            one.keep("kept", f"SELECT {value} AS x")
            one.view("seen", "SELECT x FROM kept")
            one.arrow("given", pa.table({"x": [value]}))
            one.execute(f"CREATE TABLE stored AS SELECT {value} AS x")
        together = "SELECT (SELECT x FROM seen), (SELECT x FROM given), (SELECT x FROM stored)"
        assert engine.rows(together) == [(1, 1, 1)]
        assert other.rows(together) == [(2, 2, 2)]
        databases = "SELECT count(*) FROM duckdb_databases() WHERE NOT internal AND path IS NULL"
        open_ones = engine.scalar(databases)
        unread = other.batches("SELECT * FROM range(100_000)", rows=1_000)
        next(unread)
    assert engine.scalar(databases) == open_ones - 1
    other.__exit__(None, None, None)  # closed twice is closed


def test_only_an_engine_that_is_alone_takes_functions(engine: Engine, tmp_path: Path):
    with pytest.raises(AssertionError, match="alone"):
        engine.function("twice", lambda value: value * 2, ["INTEGER"], "INTEGER")
    for factor in (2, 3):
        with Engine(Settings(environment="test", storage_root=str(tmp_path)), alone=True) as own:
            own.function("times", lambda value, factor=factor: value * factor, ["INTEGER"], "INTEGER")
            assert own.scalar("SELECT times(7)") == 7 * factor


def test_batches_are_bounded_and_complete(engine: Engine):
    sizes = [batch.num_rows for batch in engine.batches("SELECT * FROM range(10_000)", rows=3_000)]
    assert sum(sizes) == 10_000
    assert max(sizes) <= 3_000


def test_scalar_of_no_row_is_none(engine: Engine):
    assert engine.scalar("SELECT 1 WHERE FALSE") is None
    assert engine.scalar("SELECT ?", [7]) == 7


def test_a_failed_query_is_named_whenever_it_fails(engine: Engine):
    for broken in ("SELECT nothing", "SELECT error('at run time')"):
        with pytest.raises(QueryFailed, match=r"`features\.sql` failed"):
            engine.table(broken, name="features.sql")
        with pytest.raises(QueryFailed, match=r"`features\.sql` failed"):
            engine.scalar(broken, name="features.sql")
        with pytest.raises(QueryFailed, match=r"`features\.sql` failed"):
            engine.keep("kept", broken, query="features.sql")


def test_a_kept_query_runs_once(engine: Engine):
    engine.keep("kept", "SELECT random() AS x")
    assert engine.scalar("SELECT x FROM kept") == engine.scalar("SELECT x FROM kept")


def test_schema_does_not_look_at_the_data(engine: Engine):
    assert engine.schema("SELECT CAST(error('looked') AS DOUBLE) AS x FROM range(3) t(i) WHERE i > 5").names == ["x"]


def test_folders_become_text_columns(engine: Engine, tmp_path: Path):
    file = tmp_path / "delivery=2013-01" / "part.parquet"
    file.parent.mkdir()
    pa.parquet.write_table(pa.table({"x": [1, 2]}), file)
    rows = engine.table(f"SELECT * FROM {parquet([str(file)])}")
    assert rows["delivery"].to_pylist() == ["2013-01", "2013-01"]


def test_times_keep_their_moment_whatever_their_zone(engine: Engine):
    there = datetime(2024, 5, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert engine.scalar(f"SELECT strftime({quote_time(there)}, '%Y-%m-%d %H:%M')") == "2024-05-01 00:00"


def test_names_and_texts_cannot_leave_their_quotes(engine: Engine):
    name, text = 'a"; SELECT 2 --', "it's; SELECT 2 --"
    rows = engine.table(f"SELECT {quote_text(text)} AS {quote(name)}")
    assert rows.to_pylist() == [{name: text}]


def test_a_long_query_prints_nothing_among_what_a_command_prints():
    """`python -c` is what DuckDB takes for a person who looks on."""
    script = (
        "from perennial.data.engine import Engine; from perennial.settings import Settings; "
        "print(Engine(Settings(environment='test', storage_root='.')).scalar("
        "\"SELECT current_setting('enable_progress_bar')\"))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
