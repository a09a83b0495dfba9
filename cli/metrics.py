"""`perennial metrics`: an endpoint for Prometheus, until it is interrupted."""

import signal
import threading
from typing import Annotated

import typer

from cli.arguments import Env, choose_environment, environment
from cli.output import console

Host = Annotated[str, typer.Option("--host", help="Address to listen on; others than loopback show it to all.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 for a free one.")]


def metrics(port: Port = 9464, host: Host = "127.0.0.1", env: Env = None) -> None:
    """Tell Prometheus of runs, lateness, queues, events and models, at /metrics, until Ctrl-C."""
    from deployments.observability.exporter import serving
    from flows.entry import now

    choose_environment(env)
    settings, ended = environment(), threading.Event()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda number, frame: ended.set())
    with serving(settings, now, host, port) as found:
        console.print(f"Metrics of {settings.environment} at http://{host}:{found}/metrics; Ctrl-C ends it.")
        ended.wait()
