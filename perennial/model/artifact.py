"""A model as a folder named by the digest of its manifest: written once, checked before a byte is parsed.

It trusts no file: whoever names the digest names every byte. Whether the model is any good is judged elsewhere.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import pstdev
from typing import Literal, TypeVar

import pyarrow as pa
from pydantic import ValidationError

from perennial.data.engine import Engine
from perennial.digests import canonical_json, digest_bytes
from perennial.errors import Permanent
from perennial.model.encoding import Encoder, Matrix
from perennial.model.estimators import Estimator, estimator
from perennial.model.fitted import Fitted
from perennial.model.metrics import Vector
from perennial.records import Frozen
from perennial.settings import Settings
from perennial.store import MissingObject, Store
from perennial.watch.drift import Reference

MANIFEST, ENCODER, GOLDEN, REFERENCE = "manifest.json", "encoder.json", "golden.json", "reference.json"
MAX_MANIFEST = 2**20
MAX_FILE = 2**28
_DIGEST = re.compile(r"[0-9a-f]{64}")
_Closed = TypeVar("_Closed", bound=Frozen)


class InvalidModel(Permanent):
    """The folder is not, byte for byte, what a training wrote."""


class File(Frozen):
    """One file of the folder."""

    digest: str
    bytes: int


class Manifest(Frozen):
    """What makes a model; the digest of these bytes is its name."""

    format: Literal[1] = 1
    estimator: str
    task: str
    features: tuple[str, ...]
    files: dict[str, File]


class Golden(Frozen):
    """Questions with the answers that the model gave when it was made."""

    rows: tuple[dict[str, float | str | None], ...]
    """Feature rows; JSON has no NaN, so missing is `None`."""
    scores: tuple[float | None, ...]
    """`None` where the score was not finite."""

    def table(self, encoder: Encoder) -> pa.Table:
        """Return the questions as feature rows."""
        return encoder.table(self.rows)

    @property
    def spread(self) -> float:
        """Standard deviation of the finite scores; 0 where there are none."""
        return pstdev([one for one in self.scores if one is not None] or [0.0])


@dataclass(frozen=True)
class Model:
    """A fitted estimator with the encoder that its columns come from."""

    estimator: Estimator
    encoder: Encoder
    fitted: Fitted

    def score(self, rows: pa.Table, engine: Engine | None = None) -> Vector:
        """Score feature rows in memory, one score per row in their order, shape (n,).

        Raises:
            QueryFailed: A feature is missing.
        """
        return self.fitted.scores(self.coded(rows, engine))

    def coded(self, rows: pa.Table, engine: Engine | None = None) -> Matrix:
        """Code feature rows in memory, as for the training, shape (n, features).

        Raises:
            QueryFailed: A feature is missing.
        """
        if engine is None:
            with Engine(Settings(environment="scoring", storage_root="", threads=1)) as own:
                return self.coded(rows, own)
        engine.arrow("rows_to_score", rows)
        return self.encoder.matrix(engine.table(self.encoder.select("rows_to_score"), name="encode"))

    def score_query(self, engine: Engine, relation: str, columns: Sequence[str]) -> pa.RecordBatchReader:
        """Score a relation of any size in bounded memory, batch by batch in its order.

        Args:
            engine: Where the relation is; it must not be asked anything else while the reader is read.
            relation: What may follow FROM, with a column of each feature's name.
            columns: Columns to keep beside `score`, such as the key.
        """
        coded = engine.batches(self.encoder.select(relation, columns), name="score")
        schema = pa.schema([*list(coded.schema)[: len(columns)], pa.field("score", pa.float64())])

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in coded:
                score = pa.array(self.fitted.scores(self.encoder.matrix(batch)))
                yield pa.record_batch([*batch.columns[: len(columns)], score], schema=schema)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def importance(self) -> dict[str, float]:
        """Return each feature's share in what the model does."""
        return self.fitted.importance(self.encoder.features)


def save_model(store: Store, model: Model, questions: pa.Table, reference: Reference) -> str:
    """Write a model, its golden questions and its reference, the manifest last, and return its digest.

    The same model again writes nothing.

    Args:
        store: Where `models/` is.
        model: What was fitted.
        questions: A few feature rows, of which the scores are kept.
        reference: What the model saw.
    """
    contents = {
        model.estimator.file: model.fitted.save(),
        ENCODER: canonical_json(model.encoder.model_dump(mode="json")),
        GOLDEN: canonical_json(_asked(model, questions).model_dump(mode="json")),
        REFERENCE: canonical_json(reference.model_dump(mode="json")),
    }
    manifest = Manifest(
        estimator=model.estimator.name,
        task=model.estimator.task,
        features=model.encoder.features,
        files={name: File(digest=digest_bytes(data), bytes=len(data)) for name, data in contents.items()},
    )
    named = canonical_json(manifest.model_dump(mode="json"))
    digest = digest_bytes(named)
    if not store.exists(_path(digest, MANIFEST)):
        for name, data in contents.items():
            store.put(_path(digest, name), data)
        store.put(_path(digest, MANIFEST), named)
    return digest


def load_model(store: Store, digest: str) -> Model:
    """Load a model after checking its digest, its files and their formats.

    Bytes that a hostile training wrote itself pass these checks, which is why `probe` loads in a child first.

    Raises:
        InvalidModel: Something is missing, changed, too large, or of a format that Perennial does not write.
        Permanent: The estimator's own file cannot be read.
    """
    manifest = load_manifest(store, digest)
    kind = estimator(manifest.estimator, manifest.task)
    if manifest.files.keys() != {kind.file, ENCODER, GOLDEN, REFERENCE}:
        raise InvalidModel(_wrong(store, digest, f"it lists the files {', '.join(sorted(manifest.files))}"))
    encoder = _parsed(Encoder, store, manifest, digest, ENCODER)
    if encoder.features != manifest.features or not encoder.categories.keys() <= set(encoder.features):
        raise InvalidModel(_wrong(store, digest, "manifest and encoder name different features"))
    return Model(kind, encoder, kind.load(_checked(store, manifest, digest, kind.file)))


def copy_model(source: Store, target: Store, digest: str) -> None:
    """Copy a model to another store, every file checked against its digest, the manifest last.

    What the target holds already is checked too, so that a damaged copy is not taken for the model.

    Raises:
        InvalidModel: A file of the source or of the target is missing or changed.
    """
    manifest = load_manifest(source, digest)
    if not target.exists(_path(digest, MANIFEST)):
        for name in manifest.files:
            target.put(_path(digest, name), _checked(source, manifest, digest, name))
        target.put(_path(digest, MANIFEST), _read(source, digest, MANIFEST, MAX_MANIFEST))
    for name in load_manifest(target, digest).files:
        _checked(target, manifest, digest, name)


def load_golden(store: Store, digest: str) -> Golden:
    """Read the golden questions of a model, checked as by `load_model`."""
    return _parsed(Golden, store, load_manifest(store, digest), digest, GOLDEN)


def load_reference(store: Store, digest: str) -> Reference:
    """Read what a model saw, checked as by `load_model`."""
    return _parsed(Reference, store, load_manifest(store, digest), digest, REFERENCE)


def load_manifest(store: Store, digest: str) -> Manifest:
    """Read the manifest of a model, whose bytes must have the digest that names it."""
    if not _DIGEST.fullmatch(digest):
        raise InvalidModel(f"`{digest[:80]}` names no model: expected the 64 hexadecimal digits of its digest.")
    data = _read(store, digest, MANIFEST, MAX_MANIFEST)
    if digest_bytes(data) != digest:
        raise InvalidModel(_wrong(store, digest, f"`{MANIFEST}` has another digest, {digest_bytes(data)[:12]}"))
    return _closed(Manifest, data, store, digest, MANIFEST)


def _path(digest: str, name: str) -> str:
    return f"models/{digest}/{name}"


def _asked(model: Model, questions: pa.Table) -> Golden:
    plain = [{name: _plain(row[name]) for name in model.encoder.features} for row in questions.to_pylist()]
    unanswered = Golden(rows=tuple(plain), scores=())
    scores = model.score(unanswered.table(model.encoder))
    return Golden(rows=unanswered.rows, scores=tuple(float(one) if math.isfinite(one) else None for one in scores))


def _plain(value: object) -> float | str | None:
    if value is None or isinstance(value, str):
        return value
    number = float(value)  # type: ignore[arg-type]
    return number if math.isfinite(number) else None


def _parsed(kind: type[_Closed], store: Store, manifest: Manifest, digest: str, name: str) -> _Closed:
    return _closed(kind, _checked(store, manifest, digest, name), store, digest, name)


def _closed(kind: type[_Closed], data: bytes, store: Store, digest: str, name: str) -> _Closed:
    parse: Callable[[bytes], _Closed] = kind.model_validate_json
    try:
        return parse(data)
    except ValidationError as error:
        raise InvalidModel(_wrong(store, digest, f"`{name}` has another form: {error.errors()[0]['msg']}")) from error


def _checked(store: Store, manifest: Manifest, digest: str, name: str) -> bytes:
    if name not in manifest.files:
        raise InvalidModel(_wrong(store, digest, f"it lists no `{name}`"))
    expected = manifest.files[name]
    data = _read(store, digest, name, min(expected.bytes, MAX_FILE))
    if digest_bytes(data) != expected.digest:
        raise InvalidModel(_wrong(store, digest, f"`{name}` was changed after the training"))
    return data


def _read(store: Store, digest: str, name: str, limit: int) -> bytes:
    path = _path(digest, name)
    place = Path(store.uri(path))
    if store.is_local and place.exists() and (place.is_symlink() or place.parent.is_symlink() or not place.is_file()):
        raise InvalidModel(_wrong(store, digest, f"`{name}` is a link or a device, and only plain files are read"))
    try:
        size = store.size(path)
        if size > limit:
            raise InvalidModel(_wrong(store, digest, f"`{name}` has {size} bytes, expected at most {limit}"))
        return store.get(path)
    except MissingObject as error:
        raise InvalidModel(_wrong(store, digest, f"`{name}` does not exist")) from error


def _wrong(store: Store, digest: str, what: str) -> str:
    return (
        f"The model `{digest[:12]}` below `{store.uri('models')}` is not what a training wrote: {what}. "
        "It was not loaded. Restore the folder from a backup, or train again."
    )
