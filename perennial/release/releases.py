"""Which version serves: releases and rollbacks, each one record of the journal.

It judges nothing and scores nothing; whoever serves follows the newest release.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from perennial.errors import Permanent
from perennial.hosted import hostings
from perennial.model.probe import probe_model
from perennial.records import Answer, Answered, Entry, Judged, Released
from perennial.state import State, fold
from perennial.workspace import Workspace


class NotReleasable(Permanent):
    """The gate did not pass the version, or it does not load and answer as it did at its training."""


class NotApproved(Permanent):
    """The model came from another environment, and no person has let it serve in this one."""


class StaleVerdict(Permanent):
    """The champion that was judged against, or was to be withdrawn, or the gate that judged, is another by now."""


class NoWayBack(Permanent):
    """No earlier release may serve: none passed the gate, served, still loads and was not withdrawn itself.

    Or going back was tried already and did not help.
    """


def release(ws: Workspace, judged: Judged, as_of: datetime) -> Released:
    """Make a version the champion: the declared gate passed it against the present champion, and it loads.

    A verdict is used once. Asking again returns the release that it led to, even if that was replaced or
    withdrawn since.

    Raises:
        NotReleasable: The verdict is not PASS or not in the journal, or the model fails its golden questions.
        NotApproved: It was promoted from another environment, and this one asks a person first.
        StaleVerdict: Somebody released another version first, or one for a later moment, or changed the gate.
    """
    state = ws.state()
    if release_of(judged, state) is None:
        require_releasable(ws, judged, state, as_of)
        require_that_it_loads(ws, judged)

    def decision(entries: tuple[Entry, ...]) -> Released | None:
        now = fold(entries)
        if release_of(judged, now) is not None:
            return None
        require_releasable(ws, judged, now, as_of)
        return next_release(ws, entries, judged.model, judged.version, judged.verdict.reasons[0])

    ws.journal.decide(decision, as_of)
    released = release_of(judged, ws.state())
    assert released is not None
    return released


def rollback(ws: Workspace, reason: str, as_of: datetime) -> Released:
    """Withdraw the champion and release again the last earlier version that has served well and still loads.

    It has passed the gate, and has answered in good health where the use case answers online (`release.served`); where
    it does not, or none did yet, it has written predictions. Versions that were withdrawn before are passed over. A
    champion that was released for a later moment, by mistake, is withdrawn too. Asking again for the same reason and
    moment returns the same release.

    Raises:
        NoWayBack: There is no such version; the champion stays.
        StaleVerdict: The champion changed meanwhile.
    """
    state = ws.state()
    done = _rollback_of(reason, as_of, state)
    if done is not None:
        return done
    target = last_good(ws, state, by_hand=True)

    def decision(entries: tuple[Entry, ...]) -> Released | None:
        now = fold(entries)
        if _rollback_of(reason, as_of, now) is not None:
            return None
        withdrawn = _champion(ws, now)
        if withdrawn != state.champion:
            raise StaleVerdict(
                f"Release {withdrawn.number} of `{ws.use_case.slug}` came while another was being withdrawn. Nothing "
                "was rolled back; look at the new champion first."
            )
        return next_release(ws, entries, target.model, target.version, reason, withdraws=withdrawn.number)

    ws.journal.decide(decision, as_of)
    released = _rollback_of(reason, as_of, ws.state())
    assert released is not None
    return released


def release_of(judged: Judged, state: State) -> Released | None:
    """Return the release that a verdict led to, directly or through a rollout; `None` if it led to none."""
    wanted = (judged.model, judged.version, judged.against_version, None)
    found = (one for one in state.released if (one.model, one.version, one.replaces, one.withdraws) == wanted)
    return next(found, None)


def _rollback_of(reason: str, as_of: datetime, state: State) -> Released | None:
    found = (one for one in state.released if one.withdraws is not None and one.reason == reason)
    return next((one for one in found if state.released_at[one.number] == as_of), None)


def require_releasable(ws: Workspace, judged: Judged, state: State, as_of: datetime) -> None:
    """Refuse what the declared gate did not pass against the present champion, or a person has not let serve.

    Raises:
        NotReleasable: The verdict is not PASS or not in the journal.
        NotApproved: A person has to let it serve, and did not.
        StaleVerdict: Somebody released another version first, or one for a later moment, or changed the gate.
    """
    slug, champion = ws.use_case.slug, state.champion
    if judged not in state.judged:
        raise NotReleasable(f"The journal of `{slug}` has no such verdict on version {judged.version}. Judge it first.")
    if judged.verdict.answer is not Answer.PASS or not judged.verdict.reasons:
        raise NotReleasable(
            f"The gate said {judged.verdict.answer} to version {judged.version} of `{slug}`, and only PASS is "
            f"released: {' '.join(judged.verdict.reasons)}"
        )
    again = f"Judge it again: `perennial register {slug}`, or `perennial promote` where it came from elsewhere."
    if judged.against_version != (champion.version if champion else None):
        serves = f"version {champion.version} serves" if champion else "none serves"
        against = f"version {judged.against_version}" if judged.against_version else "the baseline"
        raise StaleVerdict(
            f"Version {judged.version} of `{slug}` was judged against {against}, but now {serves}. {again}"
        )
    if judged.gate != ws.use_case.gate_digest:
        raise StaleVerdict(
            f"Version {judged.version} of `{slug}` was judged by another `gate` or `metrics.primary` than "
            f"use_case.yaml declares now. {again}"
        )
    _require_approval(ws, judged, state)
    _require_newest(ws, state, as_of)


def approval_of(judged: Judged, state: State) -> Answered | None:
    """Return the newest answer to the question whether a promoted version may serve, `None` while there is none."""
    wanted = (judged.model, judged.version, judged.against_version)
    found = [one for one in state.answered if (one.model, one.version, one.against_version) == wanted]
    return found[-1] if found else None


def _require_approval(ws: Workspace, judged: Judged, state: State) -> None:
    if ws.settings.approval != "person" or judged.model not in state.promoted:
        return
    answer = approval_of(judged, state)
    if answer is None or not answer.approved:
        said = f"{answer.who} said no: {answer.reason}" if answer else "nobody has answered yet"
        raise NotApproved(
            f"Version {judged.version} of `{ws.use_case.slug}` was promoted from "
            f"`{state.promoted[judged.model].source.environment}`, and in `{ws.settings.environment}` a person lets "
            f"such a model serve, but {said}. Promote it again to ask."
        )


def _require_newest(ws: Workspace, state: State, as_of: datetime) -> None:
    withdrawn = {one.withdraws for one in state.released}
    later = [one for one, at in state.released_at.items() if at > as_of and one not in withdrawn]
    if later:
        raise StaleVerdict(
            f"Release {later[-1]} of `{ws.use_case.slug}` was made for {state.released_at[later[-1]]:%F %R}, after "
            f"{as_of:%F %R}. The past is not released again."
        )


def require_that_it_loads(ws: Workspace, judged: Judged) -> None:
    """Refuse a model that does not answer its golden questions in a child process.

    Raises:
        NotReleasable: It crashes, hangs, or answers otherwise than at its training.
    """
    probed = probe_model(ws.store, judged.model)
    if probed.answer is not Answer.PASS:
        raise NotReleasable(
            f"Version {judged.version} of `{ws.use_case.slug}` passed the gate but cannot serve: "
            f"{' '.join(probed.reasons)} Restore its artifact or train again."
        )


def _champion(ws: Workspace, state: State) -> Released:
    if state.champion is None:
        raise NoWayBack(f"Nothing of `{ws.use_case.slug}` is released yet, so there is nothing to roll back.")
    return state.champion


def last_good(ws: Workspace, state: State, by_hand: bool = False) -> Released:
    """Return the release to go back to, loaded in a child process first.

    Args:
        ws: Whose releases.
        state: What the journal amounts to.
        by_hand: A person asks, who may go back to what only wrote predictions before any release answered online.

    Raises:
        NoWayBack: There is none; the message says what was tried.
    """
    champion = _champion(ws, state)
    failed = []
    for one in _earlier_good(ws, state, champion, by_hand):
        probed = probe_model(ws.store, one.model)
        if probed.answer is Answer.PASS:
            return one
        failed.append(f"Version {one.version}: {' '.join(probed.reasons)}")
    raise NoWayBack(
        f"No version of `{ws.use_case.slug}` before {champion.version} passed the gate, {_proof(ws, by_hand)}, still "
        f"loads and was not withdrawn. Version {champion.version} stays. {' '.join(failed)}".rstrip()
    )


def _proof(ws: Workspace, by_hand: bool) -> str:
    if not ws.use_case.serving:
        return "has written predictions"
    return f"answered in good health{', or wrote predictions before any did' if by_hand else ''}"


def _earlier_good(ws: Workspace, state: State, champion: Released, by_hand: bool) -> Iterator[Released]:
    by_number = {one.number: one for one in state.released}
    seen = {by_number[one.withdraws].model for one in state.released if one.withdraws} | {champion.model}
    passed = {one.model for one in state.judged if one.verdict.answer is Answer.PASS}
    served = _served(ws, state, by_hand)
    for one in reversed(state.released):
        if one.model in passed and one.number in served and one.model not in seen:
            seen.add(one.model)
            yield one


def _served(ws: Workspace, state: State, by_hand: bool) -> set[int]:
    """Releases with good evidence of service."""
    scored = {one.release for one in state.predicted if one.rows}
    if not ws.use_case.serving:
        return scored
    first = min(state.served, default=len(state.released) + 1) if by_hand else 0
    return {*state.served, *(one for one in scored if one < first)}


def next_release(
    ws: Workspace,
    entries: Sequence[Entry],
    model: str,
    version: int,
    reason: str,
    *,
    withdraws: int | None = None,
    rollout: int | None = None,
) -> Released:
    """Return the record that makes a version the champion, in place of the present one.

    On a cluster it names the image that runs there by now: the newest that was asked for may be on trial, or condemned.
    """
    state = fold(entries)
    hosted = hostings(entries).current if ws.settings.serves_on == "kubernetes" else None
    return Released(
        number=len(state.released) + 1,
        model=model,
        version=version,
        replaces=state.champion.version if state.champion else None,
        reason=reason,
        withdraws=withdraws,
        rollout=rollout,
        image=hosted.image if hosted else ws.settings.serving_image or None,
    )
