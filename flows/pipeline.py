"""The whole story: from a period's data to the model that serves next."""

from collections.abc import Callable
from datetime import datetime

from prefect import flow

from flows.deployment import deploy
from flows.entry import main
from flows.ingestion import ingest
from flows.monitoring import monitor
from flows.occasion import Occasion, occasion
from flows.policy import POLICY
from flows.prediction import predict
from flows.registration import register
from flows.renewal import renew
from flows.training import train
from flows.validation import validate
from perennial.records import Answer, RetrainingDecided, RolloutStarted
from perennial.retraining import Outcome
from perennial.watch.maturity import matured_periods
from tasks.monitoring import decide_on_retraining


@flow(**POLICY, description="All that a period asks for: data, predictions, measurement, and a new model if due.")
def pipeline(use_case: str, period: str | None = None, as_of: datetime | None = None) -> RetrainingDecided:
    """Live through one period.

    1. Ingest and validate what the sources delivered.
    2. Score it with the champion, and measure how the champion does: now, and in periods whose labels came late.
    3. Decide whether a challenger is due.
    4. If so, train it, let the gate judge it, and release it when it passed, unless another run does so already:
       `challenge`. Where a trial by real requests comes first, it begins, and another run follows it.

    Every step is found done when it was done before, so that a repeated run changes nothing.
    """
    with occasion(use_case, period, as_of) as this:
        ingest(**this.parameters)
        validate(**this.parameters)
        if this.workspace.state().champion_before(this.as_of) and not this.is_decided:
            predict(**this.parameters)
            late = matured_periods(this.state, this.workspace.use_case, this.as_of)
            for one in (*late, this.period):
                monitor(use_case, period=one.label, as_of=this.as_of)
        decided = decide_on_retraining(this.workspace, this.period, this.as_of)
        if decided.action == "retrain":
            renew(this, challenge, again=True)
        return decided


def challenge(this: Occasion, between: Callable[[], None]) -> tuple[Outcome, str]:
    """Train a challenger, let the gate judge it, and release it if it passed; `between` may end it, by raising."""
    train(**this.parameters)
    between()
    verdict = register(**this.parameters).verdict
    between()
    if verdict.answer is not Answer.PASS:
        return Outcome.NOT_RELEASED, verdict.reasons[0]
    made = deploy(**this.parameters)
    return Outcome.ON_TRIAL if isinstance(made, RolloutStarted) else Outcome.RELEASED, verdict.reasons[0]


if __name__ == "__main__":
    main(pipeline)
