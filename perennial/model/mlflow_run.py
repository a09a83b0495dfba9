"""What an MLflow run and its logged model hold of one training; versions and aliases are `registry`'s business.

A run is found by its tag and a child by its name, so that doing it again writes the same once.
"""

import tempfile
from datetime import datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from perennial.digests import digest_json
from perennial.model.artifact import load_golden
from perennial.model.encoding import Encoder
from perennial.model.evidence import Evidence
from perennial.model.mlflow_client import unless_there
from perennial.records import CandidateFit, Trained
from perennial.storage_trouble import naming_full_storage
from perennial.workspace import Workspace

MODEL_TAG = "perennial.model"
"""Tag of a run and of a version: the digest of its model."""
_REQUIRED = ("perennial", "duckdb", "numpy", "pyarrow", "scikit-learn", "skops", "xgboost-cpu")
_EXAMPLE_ROWS = 5


def write_run(
    client: Any, ws: Workspace, trained: Trained, encoder: Encoder, evidence: Evidence, as_of: datetime
) -> Any:
    """Write one run with a child per candidate, the dataset, the evidence and the model.

    Returns:
        MLflow's entity of the logged model, which a version can be made of.
    """
    run = _run(client, ws, trained, as_of)
    _log_training(client, ws, trained, run.info.run_id, as_of)
    _log_candidates(client, trained, run, as_of)
    with tempfile.TemporaryDirectory() as folder, naming_full_storage(run.info.artifact_uri):
        _log_evidence(client, ws, trained, run, evidence, Path(folder) / "evidence")
        return _log_model(client, ws, trained, run, encoder, Path(folder))


def finish_run(client: Any, run: str, as_of: datetime) -> None:
    """Mark a run as finished, unless it is."""
    if client.get_run(run).info.status != "FINISHED":
        client.set_terminated(run, end_time=_milliseconds(as_of))


def digest_tags(ws: Workspace, trained: Trained) -> dict[str, str]:
    """Return the tags that say what a model is, where it belongs, and of what it was made."""
    return {
        MODEL_TAG: trained.model,
        "perennial.training": trained.key,
        "perennial.use-case": ws.use_case.slug,
        "perennial.environment": ws.settings.environment,
        "perennial.data": digest_json(trained.snapshots),
        "perennial.labels": trained.labels,
        "perennial.spec": trained.spec,
        "perennial.query": trained.query,
        "perennial.code": trained.code,
        "perennial.lock": trained.lock,
        "perennial.seed": str(trained.seed),
        **_origin_tags(ws, trained),
    }


def _origin_tags(ws: Workspace, trained: Trained) -> dict[str, str]:
    promoted = ws.state().promoted.get(trained.model)
    if promoted is None:
        return {}
    source = promoted.source
    return {
        "perennial.promoted-from": source.environment,
        "perennial.promoted-from.version": str(source.version),
        "perennial.promoted-from.run": source.run,
        "perennial.promoted-through": " > ".join(f"{one.environment}/{one.version}" for one in promoted.stations),
    }


def _run(client: Any, ws: Workspace, trained: Trained, as_of: datetime) -> Any:
    slug = ws.use_case.slug
    folder = None if ws.settings.mlflow_tracking_uri else ws.store.uri(f"mlflow/artifacts/{slug}")
    unless_there(client.create_experiment, slug, folder)
    experiment = client.get_experiment_by_name(slug).experiment_id
    begun = client.search_runs([experiment], f"tags.`{MODEL_TAG}` = '{trained.model}'", order_by=["start_time"])
    if begun:
        return begun[0]
    name = f"{trained.candidate} {as_of:%Y-%m-%d}"
    tags = {**digest_tags(ws, trained), "perennial.as-of": f"{as_of:%Y-%m-%dT%H:%M:%SZ}"}
    return client.create_run(experiment, _milliseconds(as_of), tags, name)


def _log_training(client: Any, ws: Workspace, trained: Trained, run: str, as_of: datetime) -> None:
    from mlflow.data.delta_dataset_source import DeltaDatasetSource
    from mlflow.entities import Dataset, DatasetInput, InputTag

    kept = next(one for one in trained.candidates if one.name == trained.candidate)
    params: dict[str, object] = {"seed": trained.seed}
    for name in ("fit", "validation", "holdout"):
        window = getattr(trained, name)
        params |= {
            f"{name}.start": window.start,
            f"{name}.end": window.end,
            f"{name}.rows": getattr(trained, f"{name}_rows"),
        }
    _log_fit(client, run, kept, params, as_of)
    source = DeltaDatasetSource(ws.table("features"), delta_table_version=trained.features_version)
    features = Dataset("features", digest_json(trained.snapshots)[:32], "delta_table", source.to_json())
    client.log_inputs(run, [DatasetInput(features, [InputTag("mlflow.data.context", "training")])])


def _log_candidates(client: Any, trained: Trained, run: Any, as_of: datetime) -> None:
    experiment, parent = run.info.experiment_id, run.info.run_id
    written = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    for fit in trained.candidates:
        if fit.name not in {child.info.run_name for child in written}:
            tags = {"mlflow.parentRunId": parent, "perennial.candidate": fit.model}
            child = client.create_run(experiment, _milliseconds(as_of), tags, fit.name).info.run_id
            _log_fit(client, child, fit, {}, as_of)
            finish_run(client, child, as_of)


def _log_fit(client: Any, run: str, fit: CandidateFit, params: dict[str, object], as_of: datetime) -> None:
    from mlflow.entities import Metric, Param

    values: dict[str, float | None] = {}
    for name, found in fit.metrics.items():
        values |= {name: found.value, f"{name}.low": found.low, f"{name}.high": found.high}
    said = {"candidate": fit.name, "estimator": fit.estimator, "trials": fit.trials, **params, **fit.parameters}
    client.log_batch(
        run,
        [Metric(name, value, _milliseconds(as_of), 0) for name, value in values.items() if value is not None],
        [Param(name, str(value)) for name, value in said.items()],
    )


def _log_evidence(client: Any, ws: Workspace, trained: Trained, run: Any, evidence: Evidence, folder: Path) -> None:
    folder.mkdir()
    promoted = ws.state().promoted.get(trained.model)
    origin = {"promoted.json": promoted.model_dump_json(indent=2).encode()} if promoted else {}
    for name, data in {**evidence.files, **origin, "trained.json": trained.model_dump_json(indent=2).encode()}.items():
        (folder / name).write_bytes(data)
    client.log_artifacts(run.info.run_id, str(folder))
    client.set_tag(run.info.run_id, "mlflow.note.content", evidence.summary)


def _log_model(client: Any, ws: Workspace, trained: Trained, run: Any, encoder: Encoder, folder: Path) -> Any:
    import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    run_id, name = run.info.run_id, f"{ws.use_case.slug}-{trained.model[:8]}"
    tags = digest_tags(ws, trained)
    logged = client.create_logged_model(run.info.experiment_id, name, run_id, tags, model_type="pyfunc")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
    about = mlflow.models.Model(
        artifact_path=logged.artifact_location, run_id=run_id, model_uuid=logged.model_id, model_id=logged.model_id
    )
    example = load_golden(ws.store, trained.model).table(encoder).slice(0, _EXAMPLE_ROWS)
    mlflow.pyfunc.save_model(
        str(folder / "model"),
        loader_module="perennial.model.pyfunc",
        data_path=str(_download(ws, trained.model, folder / "store")),
        mlflow_model=about,
        signature=_signature(encoder),
        input_example=example.to_pandas(),
        pip_requirements=[f"{package}=={installed(package)}" for package in _REQUIRED],
    )
    client.log_model_artifacts(logged.model_id, str(folder / "model"))
    return client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)


def _signature(encoder: Encoder) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    kinds = {one: "string" if one in encoder.categories else "double" for one in encoder.features}
    columns = (ColSpec(kind, name, required=False) for name, kind in kinds.items())
    return ModelSignature(Schema([*columns]), Schema([ColSpec("double")]))


def _download(ws: Workspace, model: str, folder: Path) -> Path:
    (folder / "models" / model).mkdir(parents=True)
    for path in ws.store.list(f"models/{model}"):
        ws.store.download(path, folder / path)
    return folder


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
