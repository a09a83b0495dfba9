"""Who may train: one run at a time, only what was asked for, and nobody who lost its claim."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from perennial.journal import Journal
from perennial.periods import Period
from perennial.records import Record, Released, RetrainingClaimed, RetrainingDecided, RetrainingEnded
from perennial.retraining import Outcome, Request
from perennial.state import State, fold
from perennial.store import Store
from perennial.watch import claims
from perennial.watch.claims import LEASE, ClaimLost, Life, Runner, Suppressed, decide_claim, in_the_way
from perennial.workspace import Workspace
from tests.builders import make_use_case, moment

MAY = Period.parse("2024-05")
AT = MAY.end
NOW = moment("2026-11-24")
ME = Runner("me", 1, NOW)
COOLDOWN = timedelta(days=25)
ASKED = RetrainingDecided(period=MAY.label, release=1, action="retrain", reasons=("It has drifted.",))


def held(holder: str = "other", attempt: int = 1, number: int = 1) -> RetrainingClaimed:
    return RetrainingClaimed(request=1, number=number, holder=holder, attempt=attempt, until=NOW + LEASE)


def ended(outcome: Outcome = Outcome.RELEASED) -> RetrainingEnded:
    return RetrainingEnded(request=1, claim=1, outcome=outcome, reason="So it is.")


def request(*claimed: RetrainingClaimed, over: RetrainingEnded | None = None) -> Request:
    return Request(1, AT, ASKED, list(claimed), over)


@pytest.mark.parametrize(
    ("asked", "lives", "says"),
    [
        (request(), {}, None),
        (request(held()), {"other": Life.ALIVE}, "has not ended"),
        (request(held()), {}, "has not ended"),
        (request(held()), {"other": Life.UNKNOWN}, "nobody has a sign of life"),
        (request(held()), {"other": Life.LOST}, None),
        (request(held()), {"other": Life.ENDED}, None),
        (request(held()), {"other": Life.CANCELLED}, None),
        (request(held("me", attempt=2)), {"me": Life.ALIVE}, "Attempt 2 of this run"),
        (request(held("me", attempt=0)), {"me": Life.ALIVE}, None),
        (request(held(), over=ended()), {}, "It ended as released: So it is."),
        (request(held(), over=ended(Outcome.REFUSED)), {}, "It ended as refused"),
        (Request(1, AT, ASKED, by_hand=True), {}, "by hand"),
    ],
)
def test_a_claim_is_taken_only_from_nobody_or_from_the_dead(
    asked: Request, lives: dict[str, Life], says: str | None
) -> None:
    answer = decide_claim(asked, ME, lives)
    if says is None:
        assert answer == held("me", number=len(asked.claims) + 1)
    else:
        assert isinstance(answer, Suppressed) and says in answer.reason


def test_a_holder_that_nobody_knows_is_given_up_when_its_lease_has_run_out() -> None:
    late = Runner("me", 1, NOW + LEASE)
    assert isinstance(decide_claim(request(held()), late, {"other": Life.UNKNOWN}), RetrainingClaimed)
    assert isinstance(decide_claim(request(held()), late, {"other": Life.ALIVE}), Suppressed)


def test_asking_for_the_same_claim_again_finds_it() -> None:
    mine = held("me")
    assert decide_claim(request(mine), ME, {"me": Life.ALIVE}) is mine


@pytest.mark.parametrize("outcome", Outcome)
def test_only_what_was_refused_or_given_up_may_be_tried_again_and_only_on_purpose(outcome: Outcome) -> None:
    over = request(held(), over=ended(outcome))
    assert isinstance(decide_claim(over, ME, {}), Suppressed)
    again = decide_claim(over, ME, {}, again=True)
    assert isinstance(again, RetrainingClaimed) == (outcome in (Outcome.REFUSED, Outcome.ABANDONED))


def test_too_few_rows_are_tried_again_under_another_declaration_only() -> None:
    over = request(held(), over=ended(Outcome.TOO_FEW_ROWS).model_copy(update={"declaration": "old"}))
    assert isinstance(decide_claim(over, ME, {}, again=True, declaration="old"), Suppressed)
    assert isinstance(decide_claim(over, ME, {}, declaration="mended"), Suppressed)
    assert isinstance(decide_claim(over, ME, {}, again=True, declaration="mended"), RetrainingClaimed)


def test_of_two_requests_of_one_moment_the_newest_counts() -> None:
    second = Request(2, AT, ASKED)
    assert claims.request_of(State(requests={1: request(over=ended()), 2: second}), MAY, AT) is second


def state(*requests: Request, released: str | None = "2024-01-01") -> State:
    found = State(requests={one.number: one for one in requests})
    if released:
        found.released.append(Released(number=1, model="m", version=1, replaces=None, reason="first"))
        found.released_at[1] = moment(released)
    return found


@pytest.mark.parametrize(
    ("before", "says"),
    [
        (state(), None),
        (state(request()), "(entry 1) and is not done"),
        (state(request(held())), "is not done"),
        (state(request(held(), over=ended())), "`cooldown` is 25d"),
        (state(request(held(), over=ended()), released=None), None),
        (state(request(), released=None), "is not done"),
        (state(released="2024-07-01"), "after this moment"),
    ],
)
@pytest.mark.parametrize("days", [-24, 0, 24])
def test_nothing_more_is_asked_for_while_one_is_open_or_cooling(before: State, says: str | None, days: int) -> None:
    answer = in_the_way(before, AT + timedelta(days=days), COOLDOWN)
    assert answer is None if says is None else says in str(answer)


def test_after_the_cooldown_more_may_be_asked_for() -> None:
    done = state(request(held(), over=ended()))
    assert in_the_way(done, AT + COOLDOWN, COOLDOWN) is None
    assert in_the_way(done, AT - COOLDOWN, COOLDOWN) is None
    assert in_the_way(state(request()), AT + 10 * COOLDOWN, COOLDOWN)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_use_case(tmp_path_factory.mktemp("claims"), rows=1, months=())


@pytest.fixture
def ws(made: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    yield another(made, tmp_path)


def another(made: Workspace, root: Path) -> Workspace:
    return Workspace(made.use_case, made.settings.model_copy(update={"storage_root": str(root)}))


def record(ws: Workspace, *records: Record) -> None:
    for one in records:
        ws.journal.decide(lambda entries, one=one: one, AT)  # type: ignore[misc]


def claim(ws: Workspace, me: Runner = ME, **lives: Life) -> RetrainingClaimed | Suppressed:
    return claims.claim(ws, MAY, AT, me, lives)


def test_of_many_runs_at_once_one_has_the_claim(made: Workspace, tmp_path: Path) -> None:
    record(another(made, tmp_path), ASKED)
    start, answers = threading.Barrier(8), []

    def race(number: int) -> None:
        own = another(made, tmp_path)
        start.wait()
        answers.append(claim(own, Runner(f"run-{number}", 1, NOW)))

    runs = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(answers) == 8
    assert sum(isinstance(one, RetrainingClaimed) for one in answers) == 1
    entries = Journal(Store(str(tmp_path)), made.use_case.slug).entries()
    assert [one.record.kind for one in entries] == ["retraining.decided", "retraining.claimed"]


def test_who_lost_its_claim_may_neither_go_on_nor_end_it(ws: Workspace) -> None:
    record(ws, ASKED)
    first = claim(ws, Runner("first", 1, NOW))
    assert isinstance(first, RetrainingClaimed)
    claims.require_claim(ws, first)
    second = claim(ws, first=Life.ENDED)
    assert isinstance(second, RetrainingClaimed) and second.number == 2
    with pytest.raises(ClaimLost, match="taken over by claim 2 of run me"):
        claims.require_claim(ws, first)
    with pytest.raises(ClaimLost):
        claims.end(ws, first, Outcome.RELEASED, "It passed.")
    claims.end(ws, second, Outcome.RELEASED, "It passed.")
    assert fold(ws.journal.entries()).requests[1].ended == RetrainingEnded(
        request=1, claim=2, outcome=Outcome.RELEASED, reason="It passed.", declaration=ws.use_case.spec_digest
    )


def test_ending_twice_is_ending_once(ws: Workspace) -> None:
    record(ws, ASKED)
    mine = claim(ws)
    assert isinstance(mine, RetrainingClaimed)
    claims.end(ws, mine, Outcome.NOT_RELEASED, "It is no better.")
    before = ws.journal.entries()
    claims.end(ws, mine, Outcome.NOT_RELEASED, "It is no better.")
    assert ws.journal.entries() == before
    assert isinstance(claim(ws), Suppressed)


def test_what_nobody_asked_for_is_not_claimed_and_the_policy_is_quoted(ws: Workspace) -> None:
    assert claim(ws) == Suppressed("Nobody asked for a retraining after 2024-05.")
    record(ws, ASKED.model_copy(update={"action": "nothing", "reasons": ("It is cold.",)}))
    assert claim(ws) == Suppressed("It is cold.")


def test_one_that_was_tried_again_is_open_until_it_ends_again(ws: Workspace) -> None:
    record(ws, ASKED, held(), ended(Outcome.REFUSED))
    again = claims.claim(ws, MAY, AT, ME, {}, again=True)
    assert isinstance(again, RetrainingClaimed) and again.number == 2
    assert fold(ws.journal.entries()).requests[1].is_open
    third = claims.claim(ws, MAY, AT, Runner("third", 1, NOW), {"me": Life.ALIVE}, again=True)
    assert isinstance(third, Suppressed)
