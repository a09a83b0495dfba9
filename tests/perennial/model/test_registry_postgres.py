"""The tables of MLflow in a real PostgreSQL, created by several processes at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from perennial.model.mlflow_client import RegistryUnavailable, create_tables
from tests.storage_servers import postgres_server

CREATE = "import sys; from perennial.model.mlflow_client import create_tables; create_tables(sys.argv[1])"


@pytest.mark.long
def test_processes_that_create_the_tables_at_once_all_find_them() -> None:
    with postgres_server(["mlflow"]) as postgres:
        command = [sys.executable, "-c", CREATE, postgres.url("mlflow", "psycopg2")]
        rivals = [
            subprocess.Popen(command, cwd=Path(__file__).parents[3], stderr=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        ended = [(rival.communicate()[1], rival.returncode) for rival in rivals]
        assert ended == [("", 0)] * 3
        assert postgres.ask("mlflow", "SELECT count(*) FROM alembic_version") == [(1,)]
        create_tables(postgres.url("mlflow"))


def test_a_database_that_is_away_is_worth_another_try_and_its_password_is_not_told() -> None:
    with pytest.raises(RegistryUnavailable, match="did not answer") as failed:
        create_tables("postgresql://perennial:canary@127.0.0.1:9/mlflow")
    assert "canary" not in str(failed.value)
