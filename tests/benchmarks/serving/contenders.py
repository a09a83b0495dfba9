"""Who is compared, how each is installed from its lock, given the booster, and started with one worker."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from perennial.model.trees import Boosted
from tests.benchmarks.serving.figures import OURS
from tests.benchmarks.serving.preparing import ROOT, SLUG, Prepared, first_body, write_json

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Contender:
    """One service to be."""

    name: str
    protocol: str
    """Whose bodies it is asked with."""
    path: str
    """Where it answers."""
    command: Callable[[int], tuple[str, ...]]
    """How it is started on a port."""
    folder: Path = ROOT
    variables: Mapping[str, str] = field(default_factory=dict)


class NotInstalled(Exception):
    """A contender cannot be had here."""


def contenders(prepared: Prepared) -> list[Callable[[], Contender]]:
    """Return how to get each of them, ours first."""
    makers = (_ours, _mlflow_frame, _mlflow_array, _mlserver_xgboost, _mlserver_mlflow, _bentoml)
    return [lambda one=one: one(prepared) for one in makers]  # type: ignore[misc]


def _ours(prepared: Prepared) -> Contender:
    """Raw request fields: it computes the features itself."""
    return Contender(
        OURS,
        "ours",
        "/predict",
        lambda port: (sys.executable, "-m", "serving", SLUG, "--port", str(port), "--replicas", "1"),
        variables={"PERENNIAL_STORAGE_ROOT": str(prepared.storage), "PERENNIAL_ENV": "bench"},
    )


def _mlflow_frame(prepared: Prepared) -> Contender:
    """As `log_model` with an example and the client libraries have it: named columns, through pandas."""
    return _mlflow(prepared, "frame", _flavored(prepared, is_named=True))


def _mlflow_array(prepared: Prepared) -> Contender:
    """Its fastest way: a model without a signature, which gets bare numbers."""
    return _mlflow(prepared, "array", _flavored(prepared))


def _mlflow(prepared: Prepared, protocol: str, model: Path) -> Contender:
    program = str(Path(sys.executable).with_name("mlflow"))
    options = ("--env-manager", "local", "--workers", "1", "--host", "127.0.0.1")
    return Contender(
        f"mlflow models serve, {protocol}",
        protocol,
        "/invocations",
        lambda port: (program, "models", "serve", "-m", str(model), *options, "--port", str(port)),
        variables={"PATH": _path(program)},
    )


def _mlserver_xgboost(prepared: Prepared) -> Contender:
    return _mlserver(prepared, "MLServer, XGBoost runtime", "mlserver_xgboost.XGBoostModel", prepared.model)


def _mlserver_mlflow(prepared: Prepared) -> Contender:
    return _mlserver(prepared, "MLServer, MLflow runtime", "mlserver_mlflow.MLflowRuntime", _flavored(prepared))


def _mlserver(prepared: Prepared, name: str, runtime: str, uri: Path) -> Contender:
    """Without its pool of workers, in the process that has the socket: its fastest way with one worker."""
    program, folder = _program("mlserver"), prepared.home / runtime

    def command(port: int) -> tuple[str, ...]:
        ports = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
        write_json(folder / "settings.json", {"host": "127.0.0.1", **ports, "parallel_workers": 0, "debug": False})
        model = {"name": "m", "implementation": runtime, "parameters": {"uri": str(uri)}}
        write_json(folder / "model-settings.json", model)
        return (program, "start", str(folder))

    return Contender(name, "kserve", "/v2/models/m/infer", command, variables={"PATH": _path(program)})


def _bentoml(prepared: Prepared) -> Contender:
    program = _program("bentoml")
    where = {"BENCH_MODEL": str(prepared.model), "BENTOML_HOME": str(prepared.home / "bentoml")}
    return Contender(
        "BentoML",
        "bento",
        "/predict",
        lambda port: (program, "serve", "bento_service:Scorer", "--host", "127.0.0.1", "--port", str(port)),
        folder=HERE,
        variables={**where, "PATH": _path(program), "BENTOML_DO_NOT_TRACK": "True"},
    )


def _flavored(prepared: Prepared, is_named: bool = False) -> Path:
    """The booster as MLflow keeps it, with the names of its columns or without."""
    folder = prepared.home / ("mlflow-named" if is_named else "mlflow-bare")
    if not folder.exists():
        import mlflow
        import pandas as pd

        booster, signature = Boosted.load(prepared.model.read_bytes()).booster, None
        if is_named:
            frame = pd.DataFrame(**json.loads(first_body(prepared.bodies("frame", "single")))["dataframe_split"])
            booster.feature_names = list(frame.columns)
            signature = mlflow.models.infer_signature(frame.astype(float))
        options = {"model_format": "ubj", "pip_requirements": ["xgboost"], "signature": signature}
        mlflow.xgboost.save_model(booster, str(folder), **options)
    return folder


def _program(name: str) -> str:
    """Return the command of a contender in a venv of its own, built from its lock if it is not there yet.

    Raises:
        NotInstalled: pip could not.
    """
    venv = ROOT / ".bench" / name
    if not (venv / "complete").exists():
        print(f"Installing what {name}.lock names into .bench/{name} ...", flush=True)
        shutil.rmtree(venv, ignore_errors=True)
        pip = (str(venv / "bin/pip"), "install", "--quiet", "--disable-pip-version-check")
        _run(sys.executable, "-m", "venv", str(venv))
        _run(*pip, "--no-deps", "--require-hashes", "-r", str(HERE / f"{name}.lock"))
        (venv / "complete").touch()
    return str(venv / "bin" / name)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise NotInstalled((done.stderr.strip().splitlines() or ["no message"])[-1])


def _path(program: str) -> str:
    return f"{Path(program).parent}:/usr/local/bin:/usr/bin:/bin"
