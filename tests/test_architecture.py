"""The walls of the house, as tests: who may import what, how long things get, and who reads the clock."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from perennial.workspace import Workspace
from tests.builders import MONTHS, deliver, make_use_case

ROOT = Path(__file__).parents[1]
PACKAGES = ("perennial", "serving", "blocks", "tasks", "flows", "deployments", "cli")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
HOMES = {
    "obstore": {"perennial/store.py"},
    "duckdb": {"perennial/data/engine.py"},
    "deltalake": {"perennial/data/lake.py"},
    "sqlalchemy": {"perennial/data/sources.py"},
    "pandera": {"perennial/data/contract.py"},
    "sklearn": {"perennial/model/linear.py", "perennial/model/skops_file.py"},
    "xgboost": {"perennial/model/trees.py"},
    "skops": {"perennial/model/skops_file.py"},
    "mlflow": {"perennial/model/mlflow_client.py", "perennial/model/mlflow_run.py"},
    "matplotlib": {"perennial/model/plots.py"},
    "evidently": {"perennial/watch/report.py"},
    "kubernetes_asyncio": {"perennial/hosting/cluster.py"},
}
SLOW = (
    "prefect",
    "mlflow",
    "evidently",
    "pandera",
    "sklearn",
    "xgboost",
    "skops",
    "matplotlib",
    "pandas",
    "sqlalchemy",
    "kubernetes_asyncio",
)


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("library", HOMES)
def test_each_library_has_one_home(library: str) -> None:
    users = {
        str(path.relative_to(ROOT))
        for path in MODULES
        if any(name.split(".")[0] == library for name in imported(parse(path)))
    }
    assert users == HOMES[library]


def test_imports_go_one_way() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= (80 if path.parent.name == "flows" else 300)
    functions = (node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    assert {one.name for one in functions if statements_span(one) > 40} == set()


def statements_span(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    has_docstring = ast.get_docstring(function) is not None
    body = function.body[1:] if has_docstring else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_public_name_explains_itself(path: Path) -> None:
    tree = parse(path)
    assert ast.get_docstring(tree), "the module says nothing of itself"
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    ]
    assert {node.name for node in public if not ast.get_docstring(node)} == set()


def test_the_readme_is_read_in_one_go_and_leads_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert [one for one in re.findall(r"\]\(([^)#]+)\)", text) if not (ROOT / one).exists()] == []


def test_only_entry_points_read_the_clock() -> None:
    clocks = {("datetime", "now"), ("datetime", "utcnow"), ("date", "today"), ("time", "time")}
    readers = {
        str(path.relative_to(ROOT))
        for path in MODULES
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in clocks
    }
    assert readers <= {"flows/entry.py", "serving/clock.py"}


def test_no_use_case_is_named_outside_its_folder() -> None:
    slugs = [path.parent.name for path in (ROOT / "use_cases").glob("*/use_case.yaml")]
    named = {
        f"{path.relative_to(ROOT)} names {slug}"
        for path in MODULES
        for slug in slugs
        if slug in path.read_text(encoding="utf-8")
    }
    assert slugs
    assert named == set()


@pytest.mark.parametrize(
    "module", ["cli.main", "perennial.workspace", "perennial.release.gate", "perennial.data.features"]
)
def test_starting_up_imports_no_slow_library(module: str) -> None:
    script = f"import sys, {module}; print(*sorted({set(SLOW)!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_nothing_installed_slows_every_import_of_prefect() -> None:
    """Where `rfc3987-syntax` is installed, jsonschema compiles 38 grammars with it, a second for each process."""
    assert find_spec("jsonschema") is not None and find_spec("rfc3987_syntax") is None


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = make_use_case(tmp_path_factory.mktemp("shop"), months=MONTHS[:1])
    with (workspace.use_case.folder / "deliveries" / f"orders-{MONTHS[0]}.csv").open("a") as file:
        file.write("bad,2024-01-05 00:00:00Z,-1,web,bonn\n")
    deliver(workspace, MONTHS[0])
    return workspace


@pytest.mark.parametrize("command", ["history shop-returns", "status", "quarantine list shop-returns", "check", "list"])
def test_a_command_that_looks_imports_no_slow_library(shop: Workspace, command: str) -> None:
    environment = {
        **os.environ,
        "PERENNIAL_STORAGE_ROOT": shop.settings.storage_root,
        "PERENNIAL_USE_CASES": shop.settings.use_cases,
    }
    environment.pop("PREFECT_API_URL", None)
    script = "import sys; from cli.main import app; app(sys.argv[1:], standalone_mode=False); print()\n"
    script += f"print(*sorted({set(SLOW)!r} & set(sys.modules)))"
    arguments = [sys.executable, "-c", script, *command.split(), "--json"]
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "shop-returns" in done.stdout or "orders" in done.stdout
    assert done.stdout.splitlines()[-1] == ""
