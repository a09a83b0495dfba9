"""Register: put a trained model into the registry with its evidence, and let the gate judge it."""

from datetime import datetime

from prefect import flow

from flows.entry import main
from flows.occasion import Occasion, occasion
from flows.policy import POLICY
from perennial.errors import Permanent
from perennial.records import Answer, Judged, Registered, Trained
from tasks.artifacts import gate_report, publish_markdown, publish_version
from tasks.events import announce
from tasks.registration import judge_challenger, project_aliases, register_model

_EVENTS = {Answer.PASS: "gate.passed", Answer.FAIL: "gate.refused", Answer.INCONCLUSIVE: "gate.undecided"}


class NothingTrained(Permanent):
    """There is no model to register."""


@flow(**POLICY, description="Register the newest trained model with its evidence, and let the gate judge it.")
def register(use_case: str, period: str | None = None, as_of: datetime | None = None) -> Judged:
    """Judge the newest model.

    1. Register it with metrics, plots, card and digests.
    2. Score it and the champion on the same rows, and ask the gate; a model that was released is not judged again.
    3. Let the registry's aliases follow the journal.
    """
    with occasion(use_case, period, as_of) as this:
        trained = _newest(this)
        registered = register_model(this.workspace, trained, this.as_of)
        judged = _followed(this, trained) or judge_challenger(this.workspace, trained, this.as_of)
        project_aliases(this.workspace)
        show_verdict(this, registered, judged)
        return judged


def show_verdict(this: Occasion, registered: Registered, judged: Judged) -> None:
    """Show the verdict and where the version is seen, and tell what the gate said."""
    answer = judged.verdict.answer
    publish_markdown(this.slug, "gate", gate_report(judged), f"Gate: {answer} for version {judged.version}")
    publish_version(this.workspace.settings, this.slug, registered.version)
    told = {"version": judged.version, "model": judged.model, "reasons": list(judged.verdict.reasons)}
    announce(this.workspace, _EVENTS[answer], f"{judged.model}/{judged.against}/{judged.gate}", told)


def _followed(this: Occasion, trained: Trained) -> Judged | None:
    state = this.state
    if trained.model not in {one.model for one in state.released}:
        return None
    return next((one for one in reversed(state.judged) if one.model == trained.model), None)


def _newest(this: Occasion) -> Trained:
    trained = this.state.trained
    if not trained:
        raise NothingTrained(
            f"`{this.slug}` has no trained model at {this.as_of:%F %R}. Run `perennial train {this.slug}` first."
        )
    return trained[-1]


if __name__ == "__main__":
    main(register)
