"""The lifecycle as one lean flat script of plain library calls: what `make bench` measures the flows against.

It does the same work on the same data with the same query and settings: three months to train on, one to score
and to watch; deliveries are landed before they are judged, features are computed again for sampled moments, every
candidate is judged, saved in a safe format and logged, and the model that is kept answers in a child process first.
It keeps no journal, checks no digest, retries nothing and can not be run twice.
"""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import yaml
from deltalake import DeltaTable, write_deltalake

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "use_cases" / "flight-delay"
OUT = Path(sys.argv[1])
MONTHS = [datetime(2013, month, 1, tzinfo=UTC) for month in range(1, 6)]
METRICS = ("roc_auc", "log_loss", "brier")
SOURCES = ("flights", "arrivals", "weather", "planes", "airports")

sys.path.insert(0, str(FOLDER))
import source  # noqa: E402

from perennial.periods import Window  # noqa: E402  the adapters take it

spec = yaml.safe_load((FOLDER / "use_case.yaml").read_text())
KINDS = {"string": pl.String, "integer": pl.Int64, "number": pl.Float64, "boolean": pl.Boolean}
KINDS["timestamp"] = pl.Datetime("us", "UTC")


def schema(columns):
    import pandera.polars as pa_polars

    made = {}
    for name, column in columns.items():
        checks = []
        if "min" in column:
            checks.append(pa_polars.Check.ge(column["min"]))
        if "max" in column:
            checks.append(pa_polars.Check.le(column["max"]))
        if "values" in column:
            checks.append(pa_polars.Check.isin(column["values"]))
        if "pattern" in column:
            checks.append(pa_polars.Check.str_matches(f"^(?:{column['pattern']})$"))
        kind = KINDS[column["type"]]
        made[name] = pa_polars.Column(kind, checks, nullable=column.get("nullable", False), coerce=True)
    return pa_polars.DataFrameSchema(made)


def ingest(name, window):
    import pandera.errors

    declared = spec["sources"][name]
    landed = OUT / "landing" / f"{name}-{window.start if window else 'whole'}.parquet"
    landed.parent.mkdir(exist_ok=True)
    pl.from_arrow(getattr(source, name)(window)).write_parquet(landed)
    frame = pl.read_parquet(landed)
    try:
        schema(declared["columns"]).validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        bad = error.failure_cases["index"].drop_nulls().unique().to_list()
        frame = frame.with_row_index().filter(~pl.col("index").is_in(bad)).drop("index")
    frame = frame.unique(declared["key"], keep="first").sort(declared["key"])
    time = declared.get("event_time")
    known = pl.col(declared.get("known_at") or time) if time else pl.lit(None).cast(KINDS["timestamp"])
    later = timedelta(hours=1) if declared.get("known_after") else timedelta(0)
    happened = pl.col(time) if time else pl.lit(None).cast(KINDS["timestamp"])
    frame = frame.with_columns(event_time=happened, known_at=known + later)
    write_deltalake(OUT / f"raw_{name}", frame.to_arrow(), mode="append")


def features(connection, window, known="9999-01-01"):
    for name in SOURCES:
        files = ", ".join(f"'{file}'" for file in DeltaTable(OUT / f"raw_{name}").file_uris())
        connection.execute(
            f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet([{files}]) "
            f"WHERE known_at IS NULL OR known_at <= '{known}'"
        )
    label = spec["label"]["value"]
    connection.execute(
        f"CREATE OR REPLACE VIEW labels AS SELECT flight_id, event_time, CAST({label} AS DOUBLE) AS label, known_at "
        f"FROM arrivals WHERE ({label}) IS NOT NULL"
    )
    connection.execute(
        f"CREATE OR REPLACE VIEW observations AS SELECT * FROM flights "
        f"WHERE event_time >= '{window.start}' AND event_time < '{window.end}'"
    )
    sql = (FOLDER / "features.sql").read_text().strip().rstrip(";")
    return connection.sql(f"SELECT * FROM ({sql}) ORDER BY event_time, flight_id").to_arrow_table()


def audit(connection, stored, moment):
    again = features(connection, Window(start=moment, end=moment + timedelta(microseconds=1)), known=moment)
    then, now = pl.from_arrow(stored).filter(pl.col("event_time") == moment), pl.from_arrow(again)
    floats = pl.selectors.float()
    assert then.with_columns(floats.round(6)).equals(now.with_columns(floats.round(6))), moment


def matrix(table, names, categories):
    columns = []
    for name in names:
        values = table[name].combine_chunks()
        if name in categories:
            codes = pa.compute.index_in(values, pa.array(categories[name]))
            columns.append(codes.cast(pa.float32()).to_numpy(zero_copy_only=False))
        else:
            columns.append(values.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False))
    return np.column_stack(columns)


connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
windows = [Window(start=start, end=end) for start, end in pairwise(MONTHS)]
for name in ("planes", "airports"):
    ingest(name, None)
for window in windows:
    for name in ("flights", "arrivals", "weather"):
        ingest(name, window)
    write_deltalake(OUT / "features", features(connection, window), mode="append")

files = ", ".join(f"'{file}'" for file in DeltaTable(OUT / "features").file_uris())
as_of = MONTHS[3] - timedelta(days=2)
holdout, validation = as_of - timedelta(days=9), as_of - timedelta(days=14)
labelled = (
    f"SELECT f.*, l.label FROM read_parquet([{files}]) f JOIN labels l USING (flight_id) "
    "WHERE f.event_time >= '{}' AND f.event_time < '{}' AND l.known_at < '{}' ORDER BY f.event_time, f.flight_id"
)
fit = connection.sql(labelled.format(MONTHS[0], validation, holdout)).to_arrow_table()
check = connection.sql(labelled.format(validation, holdout, holdout)).to_arrow_table()
judge = connection.sql(labelled.format(holdout, as_of, MONTHS[3])).to_arrow_table()
names = [name for name in fit.column_names if name not in ("flight_id", "event_time", "label")]
texts = [name for name in names if pa.types.is_string(fit.schema.field(name).type)]
categories = {name: sorted(value for value in fit[name].unique().to_pylist() if value) for name in texts}
x, x_check, x_judge = (matrix(table, names, categories) for table in (fit, check, judge))
y, y_check, y_judge = (table["label"].to_numpy() for table in (fit, check, judge))

import skops.io  # noqa: E402
import xgboost  # noqa: E402
from sklearn.compose import make_column_transformer  # noqa: E402
from sklearn.dummy import DummyClassifier  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: E402

from perennial.model.metrics import interval, paired_difference  # noqa: E402  a bootstrap as fast as ours

is_text = np.array([name in categories for name in names])
dummy = DummyClassifier().fit(x, y)
linear = make_pipeline(
    make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), np.flatnonzero(~is_text)),
        (OneHotEncoder(handle_unknown="ignore"), np.flatnonzero(is_text)),
    ),
    LogisticRegression(max_iter=100),
).fit(x, y)
params = spec["training"]["candidates"]["boosted"]["params"]
kinds = ["c" if text else "q" for text in is_text]
sets = [
    xgboost.QuantileDMatrix(values, labels, feature_types=kinds, feature_names=names, enable_categorical=True)
    for values, labels in ((x, y),)
]
sets.append(
    xgboost.QuantileDMatrix(
        x_check, y_check, feature_types=kinds, feature_names=names, enable_categorical=True, ref=sets[0]
    )
)
booster = xgboost.train(
    {
        "objective": "binary:logistic",
        "eval_metric": "auc",
        "tree_method": "hist",
        "max_depth": params["max_depth"],
        "learning_rate": params["learning_rate"],
        "seed": 2013,
    },
    sets[0],
    params["rounds"],
    evals=[(sets[1], "validation")],
    early_stopping_rounds=params["early_stopping_rounds"],
    verbose_eval=False,
)


def boosted(values):
    data = xgboost.DMatrix(values, feature_types=kinds, feature_names=names, enable_categorical=True)
    return booster.predict(data, iteration_range=(0, booster.best_iteration + 1)).astype(float)


(OUT / "majority.json").write_text(json.dumps(dummy.class_prior_.tolist()))
skops.io.dump(linear, OUT / "linear.skops")
booster.save_model(OUT / "boosted.ubj")
for moment in np.random.default_rng(2013).choice(fit["event_time"].unique().to_pylist(), 4, replace=False):
    audit(connection, fit.drop_columns(["label"]), moment)

bootstrap = {"resamples": spec["gate"]["resamples"], "confidence": 0.95, "seed": 2013}
scores = {
    "majority": dummy.predict_proba(x_judge)[:, 1],
    "linear": linear.predict_proba(x_judge)[:, 1],
    "boosted": boosted(x_judge),
}
metrics = {
    f"{name}.{metric}": interval(metric, y_judge, score, **bootstrap).value
    for name, score in scores.items()
    for metric in METRICS
}
gain = paired_difference("roc_auc", y_judge, scores["boosted"], scores["majority"], **bootstrap)

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
import matplotlib  # noqa: E402
import mlflow  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from sklearn.calibration import CalibrationDisplay  # noqa: E402
from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay  # noqa: E402

mlflow.set_tracking_uri(f"sqlite:///{OUT}/mlflow.db")
mlflow.create_experiment("flat", artifact_location=str(OUT / "artifacts"))
mlflow.set_experiment("flat")
with mlflow.start_run():
    mlflow.log_params(params)
    mlflow.log_metrics({**metrics, "gain": gain.value})
    for name in scores:
        with mlflow.start_run(run_name=name, nested=True):
            mlflow.log_metrics({metric: metrics[f"{name}.{metric}"] for metric in METRICS})
    for display in (RocCurveDisplay, PrecisionRecallDisplay, CalibrationDisplay):
        figure, axes = plt.subplots()
        display.from_predictions(y_judge, scores["boosted"], ax=axes)
        mlflow.log_figure(figure, f"{display.__name__}.png")
    figure, axes = plt.subplots()
    xgboost.plot_importance(booster, ax=axes, max_num_features=20)
    mlflow.log_figure(figure, "importance.png")
    example = judge.select(names).slice(0, 5).to_pandas()
    signature = mlflow.models.infer_signature(example, scores["boosted"][:5])
    mlflow.xgboost.log_model(
        booster,
        name="model",
        model_format="ubj",
        signature=signature,
        pip_requirements=["xgboost"],
        registered_model_name="flat",
    )

np.save(OUT / "questions.npy", x_judge[:20])
np.save(OUT / "answers.npy", scores["boosted"][:20])
check = (
    f"import numpy as np, xgboost; booster = xgboost.Booster(model_file='{OUT}/boosted.ubj'); "
    f"data = xgboost.DMatrix(np.load('{OUT}/questions.npy'), feature_types={kinds}, feature_names={names}, "
    f"enable_categorical=True); answer = booster.predict(data, iteration_range=(0, {booster.best_iteration + 1})); "
    f"assert np.allclose(answer, np.load('{OUT}/answers.npy'))"
)
subprocess.run([sys.executable, "-c", check], check=True)

current = pl.read_delta(str(OUT / "features")).filter(pl.col("event_time") >= MONTHS[3]).to_arrow()
answer = boosted(matrix(current, names, categories))
scored = current.select(["flight_id", "event_time"]).append_column("score", pa.array(answer))
write_deltalake(OUT / "predictions", scored, mode="append")
connection.register("scored", scored)
known = connection.sql("SELECT s.score, l.label FROM scored s JOIN labels l USING (flight_id)").to_arrow_table()
for metric in METRICS:
    interval(metric, known["label"].to_numpy(), known["score"].to_numpy(), **bootstrap)

drift = {}
for place, name in enumerate(names):
    then, now = x_judge[:, place], matrix(current, [name], categories)[:, 0]
    edges = np.arange(len(categories[name]) + 1) if name in categories else np.nanquantile(then, np.linspace(0, 1, 11))
    shares = [
        np.append(np.histogram(v[~np.isnan(v)], np.unique(edges))[0], np.isnan(v).sum()) / len(v) for v in (then, now)
    ]
    before, after = np.clip(shares, 1e-4, None)
    drift[name] = float(np.sum((after - before) * np.log(after / before)))
write_deltalake(OUT / "measurements", pa.table({"name": list(drift), "value": list(drift.values())}), mode="append")

from evidently import DataDefinition, Dataset, Report  # noqa: E402
from evidently.presets import DataDriftPreset  # noqa: E402

definition = DataDefinition(numerical_columns=[n for n in names if n not in texts], categorical_columns=texts)
sides = []
for table in (current, judge):
    frame = table.select(names).slice(0, 2000).to_pandas()
    frame = frame.astype({name: "float64" for name in names if name not in texts})
    sides.append(Dataset.from_pandas(frame, definition))
report = Report([DataDriftPreset(method="psi")], include_tests=False).run(*sides)
(OUT / "report.html").write_text(report.get_html_str(as_iframe=False))
print(json.dumps({"roc_auc": metrics["boosted.roc_auc"], "gain": gain.value}))
