"""The process of an MLflow server: it creates the tables of a SQLite file while nobody else may, and then serves.

Two processes that create them at once break the file for good, and flows that run without a server create them too.
"""

import os
import sys

from perennial.model.mlflow_client import create_tables

if __name__ == "__main__":
    create_tables(os.environ["MLFLOW_BACKEND_STORE_URI"])
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *sys.argv[1:]])  # noqa: S606
