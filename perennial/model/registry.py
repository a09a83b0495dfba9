"""Models in the MLflow registry: one version per model, aliases and verdicts as the journal says.

It decides nothing: which version is champion is the journal's word, and MLflow only shows it. The bytes that
serve come from our own store, not from here. Only this module and the two `mlflow_` ones import mlflow.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NoReturn

from perennial.model.artifact import load_model
from perennial.model.evidence import make_evidence
from perennial.model.mlflow_client import (
    RegistryRefused,
    registry_client,
    shown_uri,
    tracking_uri,
    unless_gone,
    unless_there,
)
from perennial.model.mlflow_run import MODEL_TAG, digest_tags, finish_run, write_run
from perennial.records import Entry, Registered, Trained
from perennial.state import State, fold
from perennial.workspace import Workspace

__all__ = ["project_aliases", "register", "tracking_uri"]


def register(ws: Workspace, trained: Trained, as_of: datetime) -> Registered:
    """Give a trained model its version in the registry, with all its evidence, and record it.

    There is one version per model. Whoever asks takes the one with the lowest number that has the model's tag,
    and withdraws all others: those that writers created at the same moment, or again because an answer was lost.
    So an answer that never came, or a writer that died, leaves nothing behind when it is done again.

    Raises:
        RegistryUnavailable: The tracking server did not answer. Nothing is lost; register again.
        RegistryRefused: The tracking server said no, or does not have what was just written to it.
    """
    done = ws.state().registered.get(trained.model)
    if done is not None:
        return done
    with registry_client(ws.settings) as client:
        if not _versions(client, ws, trained.model):
            _publish(client, ws, trained, as_of)
        found, *others = _versions(client, ws, trained.model) or _lost(
            ws, f"the version of model `{trained.model[:12]}`"
        )
        _withdraw(client, found, others)
        finish_run(client, found.run_id, as_of)
    record = Registered(model=trained.model, version=int(found.version), run=found.run_id)

    def decision(entries: tuple[Entry, ...]) -> Registered | None:
        return None if trained.model in fold(entries).registered else record

    ws.journal.decide(decision, as_of)
    return ws.state().registered[trained.model]


def project_aliases(ws: Workspace) -> tuple[str, ...]:
    """Make the aliases `champion` and `challenger` and the tags with verdicts say what the journal says.

    The challenger is the version that was judged last, unless it is the champion. Doing it again, or after a
    crash, changes only what differs.

    Returns:
        What it changed, a sentence each.

    Raises:
        RegistryUnavailable: The tracking server did not answer.
        RegistryRefused: The tracking server said no, or has lost a version that the journal names.
    """
    state = ws.state()
    if not state.registered:
        return ()
    with registry_client(ws.settings) as client:
        return (*_set_aliases(client, ws, state), *_tag_verdicts(client, ws.use_case.slug, state))


def _set_aliases(client: Any, ws: Workspace, state: State) -> Iterator[str]:
    name = ws.use_case.slug
    held = {alias: int(one) for alias, one in client.get_registered_model(name).aliases.items()}
    champion = state.champion.version if state.champion else None
    judged = state.judged[-1].version if state.judged else None
    for alias, wanted in (("champion", champion), ("challenger", judged if judged != champion else None)):
        if wanted == held.get(alias):
            continue
        if wanted is None:
            client.delete_registered_model_alias(name, alias)
            yield f"`{alias}` is no version any more"
        else:
            if not client.search_model_versions(f"name = '{name}' and version_number = {wanted}"):
                _lost(ws, f"version {wanted}")
            client.set_registered_model_alias(name, alias, str(wanted))
            yield f"`{alias}` is version {wanted}"


def _tag_verdicts(client: Any, name: str, state: State) -> Iterator[str]:
    held = {int(one.version): one.tags for one in client.search_model_versions(f"name = '{name}'")}
    for version, judged in {one.version: one for one in state.judged}.items():
        answer, reasons = judged.verdict.answer.value, " ".join(judged.verdict.reasons)[:4000]
        for tag, value in (("perennial.verdict", answer), ("perennial.reasons", reasons)):
            if held.get(version, {}).get(tag) != value:
                client.set_model_version_tag(name, str(version), tag, value)
                yield f"`{tag}` of version {version} is `{value}`"


def _publish(client: Any, ws: Workspace, trained: Trained, as_of: datetime) -> None:
    from perennial.model.training import holdout_scores

    model = load_model(ws.store, trained.model)
    scores = holdout_scores(ws, trained, trained.model, as_of)
    evidence = make_evidence(ws.use_case, trained, scores, model.importance(), as_of, shown_uri(ws.settings))
    logged = write_run(client, ws, trained, model.encoder, evidence, as_of)
    slug, run, tags = ws.use_case.slug, logged.source_run_id, digest_tags(ws, trained)
    unless_there(client.create_registered_model, slug, description=ws.use_case.title)
    client.create_model_version(
        slug, logged.artifact_location, run, tags, description=evidence.summary, model_id=logged.model_id
    )


def _versions(client: Any, ws: Workspace, model: str) -> list[Any]:
    found = client.search_model_versions(f"name = '{ws.use_case.slug}' and tags.`{MODEL_TAG}` = '{model}'")
    return sorted(found, key=lambda one: int(one.version))


def _lost(ws: Workspace, what: str) -> NoReturn:
    raise RegistryRefused(
        f"The model registry `{shown_uri(ws.settings)}` does not have {what} of `{ws.use_case.slug}`: somebody deleted "
        "it, or an older database was restored. What serves is not touched, since models and decisions are in "
        f"`{ws.settings.storage_root}`. Restore MLflow's database from a backup, or register the next training."
    )


def _withdraw(client: Any, kept: Any, others: list[Any]) -> None:
    for one in others:
        unless_gone(client.delete_model_version, one.name, str(one.version))
        if one.run_id != kept.run_id:
            unless_gone(client.delete_run, one.run_id)
