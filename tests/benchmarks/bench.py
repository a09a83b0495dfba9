"""`make bench`: the flows against one lean flat script of the same work, alternately in one run, as ratios.

Both are whole processes, imports included. The flows report to a Prefect server that runs already, as it does
where flows run; what the private server of a command without one costs is told apart. It fails where a ratio or the
memory is far beyond its goal, on whatever machine.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.error import URLError
from urllib.request import urlopen

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SLUG = "flight-delay"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
COPIES = int(os.environ.get("BENCH_COPIES", "30"))
GOAL, FAR = 1.2, 2.5
"""Wall time of the flows by that of the script: what it is to be at most on a quiet machine, and what fails."""
MEMORY = 6000.0
"""Megabytes that ten million rows may take: the engine has 4 GB, the rest is Python and what is being written."""


def measured(script: str, *arguments: str, **environment: str) -> tuple[float, float, str]:
    """Run a script as a process; returns its seconds, its peak memory in MB, and what it printed last."""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=out,
            stderr=subprocess.DEVNULL if script == "flat.py" else None,
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - started
        out.seek(0)
        printed = out.read()
    if status:
        raise SystemExit(f"`{script}` ended with status {status}; it printed:\n{printed}")
    lines = [line for line in printed.splitlines() if line.strip()]
    return seconds, usage.ru_maxrss / 1024, lines[-1] if lines else ""


@contextmanager
def server(home: Path) -> Iterator[str]:
    """A Prefect server on loopback for the time of the comparison."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    child = subprocess.Popen(
        [sys.executable, "-m", "deployments.services.prefect_server", "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, "PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}/api"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urlopen(f"{url}/health", timeout=5)
                break
            except (URLError, OSError):
                time.sleep(0.5)
        else:
            raise SystemExit("The Prefect server did not answer within 120 s.")
        yield url
    finally:
        child.terminate()
        child.wait()


def main() -> None:
    """Print the comparison, the time to the first task, and ten million rows."""
    with tempfile.TemporaryDirectory() as folder:
        flat, flows = compare(Path(folder))
    tell("flat script", flat)
    tell("flows", flows)
    walls = median(mine[0] / theirs[0] for mine, theirs in zip(flows, flat, strict=True))
    memories = median(mine[1] / theirs[1] for mine, theirs in zip(flows, flat, strict=True))
    print(f"flows / flat script: wall time {walls:.2f}, peak memory {memories:.2f} (median of {ROUNDS} pairs)")
    print(f"the goal is a wall time of at most {GOAL}: {'reached' if walls <= GOAL else 'not reached here'}")
    with tempfile.TemporaryDirectory() as folder:
        first = [float(measured("first_task.py", PERENNIAL_STORAGE_ROOT=folder)[2]) for _ in range(3)]
    print(f"command to first task, private server: {first[0]:.1f} s on a new database, {min(first[1:]):.1f} s later")
    with tempfile.TemporaryDirectory() as folder:
        seconds, megabytes, told = measured("ten_million.py", SLUG, folder, str(COPIES), "12")
    print(f"{told}; {seconds:.0f} s in all, peak memory {megabytes:,.0f} MB")
    if max(walls, memories) > FAR or megabytes > MEMORY:
        raise SystemExit(f"Expected ratios of at most {FAR} and a peak memory of at most {MEMORY:,.0f} MB.")


def compare(folder: Path) -> tuple[list[tuple[float, float, str]], list[tuple[float, float, str]]]:
    """Run both alternately, each in a folder of its own."""
    flat, flows = [], []
    with server(folder / "prefect") as url:
        for number in range(ROUNDS):
            place = folder / str(number)
            (place / "flat").mkdir(parents=True)
            flat.append(measured("flat.py", str(place / "flat")))
            environment = {"PREFECT_API_URL": url, "PERENNIAL_STORAGE_ROOT": str(place / "flows")}
            flows.append(measured("through_flows.py", SLUG, **environment))
    return flat, flows


def tell(name: str, runs: list[tuple[float, float, str]]) -> None:
    """Print the runs of one side."""
    print(f"{name:12}", "  ".join(f"{seconds:5.1f} s {megabytes:6,.0f} MB" for seconds, megabytes, _ in runs))


if __name__ == "__main__":
    main()
