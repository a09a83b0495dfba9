"""One round of load on one contender, by wrk, or on the booster alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.serving.figures import Run
from tests.benchmarks.serving.preparing import BATCH, ROOT, Prepared
from tests.benchmarks.serving.processes import Running

CONNECTIONS = {"single": 16, "batch": 16, "alone": 1}
_SCRIPT = Path(__file__).with_name("load.lua")


def ask(one: Running, prepared: Prepared, form: str, seconds: int) -> Run:
    """Ask over HTTP from one thread; each connection asks again when it has its answer."""
    bodies = prepared.bodies(one.contender.protocol, form)
    options = ("-t1", f"-c{CONNECTIONS[form]}", f"-d{seconds}s", "--timeout", "10s")
    before = one.cpu()
    told = _run("wrk", *options, "-s", str(_SCRIPT), one.url, "--", str(bodies))
    return Run(**told, cpu=one.cpu() - before)


def call(prepared: Prepared, form: str, seconds: int) -> Run:
    """Call the booster in a process of its own, without HTTP or features."""
    rows = BATCH if form == "batch" else 1
    script = ("-m", "tests.benchmarks.serving.floor")
    return Run(**_run(sys.executable, *script, str(prepared.model), str(prepared.matrix), str(rows), str(seconds)))


def _run(*command: str) -> dict[str, Any]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise SystemExit(f"`{' '.join(command[:3])}` ended with {done.returncode}: {done.stderr or done.stdout}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))
