"""Opening what was recorded: the Prefect and the MLflow server over this environment's files, until interrupted."""

import os
import signal
import subprocess
import sys

from blocks.local import prefect_home
from blocks.private_server import server_environment
from cli.output import console
from perennial.model.mlflow_client import tracking_uri
from perennial.settings import Settings

PREFECT_PORT, MLFLOW_PORT = 4200, 5000


def serve(settings: Settings) -> None:
    """Run both servers on loopback until one of them ends, or Ctrl-C or SIGTERM ends both."""
    console.print(f"Prefect (runs, artifacts, events)  http://127.0.0.1:{PREFECT_PORT}")
    console.print(f"MLflow  (models, metrics, plots)   http://127.0.0.1:{MLFLOW_PORT}")
    console.print("[dim]They start in about 20 seconds. Ctrl-C stops both.[/]")
    home = prefect_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    here = ["--host", "127.0.0.1", "--port"]
    servers = [
        _start(["prefect", "server", "start", *here, str(PREFECT_PORT)], server_environment(home)),
        _start(["mlflow", "server", "--workers", "1", *here, str(MLFLOW_PORT)], _mlflow(settings)),
    ]
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    try:
        os.waitpid(-1, 0)
    except KeyboardInterrupt:
        console.print("Stopped.")
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait()


def _mlflow(settings: Settings) -> dict[str, str]:
    return {
        "MLFLOW_BACKEND_STORE_URI": tracking_uri(settings),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _start(command: list[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", *command], env={**os.environ, **environment})  # noqa: S603
