"""Each flow as a command of its own, `python -m flows.<stage>`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.arguments import describe, parser_of
from flows.promotion import promote
from flows.reconciliation import reconcile
from flows.rollback import rollback
from perennial.values import Answer, Verdict
from perennial.watch.claims import Suppressed
from tests.builders import moment

ROOT = Path(__file__).parents[2]
SILENT = 99
EACH = f"""
import os, runpy, sys
import flows.pipeline, flows.promotion, flows.reconciliation, flows.rollback, flows.rollout

for module in sys.argv[1].split():
    if (child := os.fork()) == 0:
        sys.argv = [module, *sys.argv[2:]]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        os._exit({SILENT})
    print(module, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Runs each module as `python -m` does, in a process of its own that Prefect was imported for but once."""


def modules_with_a_flow() -> list[str]:
    return [f"flows.{one.stem}" for one in sorted((ROOT / "flows").glob("*.py")) if "@flow(" in one.read_text()]


@pytest.fixture(scope="module")
def helped() -> dict[str, str]:
    """What each module said to `--help`, with its exit code at the end."""
    command = [sys.executable, "-W", "ignore", "-c", EACH, " ".join(modules_with_a_flow()), "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    said, found = "", {}
    for line in done.stdout.splitlines():
        module, _, code = line.partition(" ")
        if module in modules_with_a_flow():
            found[module], said = f"{said}{code}", ""
        else:
            said += f"{line}\n"
    return found


@pytest.mark.parametrize("module", modules_with_a_flow())
def test_every_flow_is_a_command_that_explains_itself(helped: dict[str, str], module: str) -> None:
    assert helped[module].startswith("usage: ") and "use_case" in helped[module]
    assert helped[module].endswith("\n0")


def test_parameters_are_read_as_what_they_are() -> None:
    given = parser_of(promote).parse_args(["shop-returns", "dev", "--version", "3", "--as-of", "2024-05-01"])
    assert (given.use_case, given.source, given.version, given.as_of) == (
        "shop-returns",
        "dev",
        3,
        moment("2024-05-01"),
    )
    assert parser_of(reconcile).parse_args([]).use_case is None


def test_what_a_flow_needs_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser_of(rollback).parse_args(["shop-returns"])
    assert "the following arguments are required: reason" in capsys.readouterr().err


def test_what_a_flow_returned_is_told_line_by_line() -> None:
    verdict = Verdict(answer=Answer.PASS, reasons=("It is better.",))
    assert json.loads(describe(verdict)) == verdict.model_dump(mode="json")
    assert describe([Suppressed("It is known."), "told again"]) == '{"reason":"It is known."}\n"told again"'
    assert describe(None) == ""


def test_what_nobody_expected_ends_with_its_traceback_and_exit_code_1_alone() -> None:
    script = "import atexit, flows.entry; atexit.register(print, 'torn down'); flows.entry.run_to_end(lambda: 1 / 0)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")
