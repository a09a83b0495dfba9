"""A cluster follows what the journal says of a service's image, one step at a time; how good it is, `decision` says.

Any number of processes may do this beside each other: a step is one record, appended only to the journal that it was
decided on, and objects are applied as the journal says. The newest image that was asked for wins, and who asked for an
older one stops.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from perennial.errors import Transient
from perennial.hosted import Hosting, HostingAdvanced, HostingEnded, Hostings, HostingStarted, hostings
from perennial.hosting.applying import apply_whole
from perennial.hosting.cluster import Cluster
from perennial.hosting.condition import Condition, condition
from perennial.hosting.decision import decide_hosting, gather
from perennial.hosting.errors import NotHosted, Superseded
from perennial.hosting.manifests import (
    HOSTING,
    Canary,
    Object,
    Track,
    canary_name,
    labels_of,
    leftovers,
    service_objects,
)
from perennial.hosting.promise import Promise
from perennial.journal import Conflict
from perennial.records import Answer, Entry, Record, Verdict
from perennial.release.reports import Counts, read_reports
from perennial.release.rollout_decision import Evidence
from perennial.serving_spec import Serving
from perennial.state import fold
from perennial.workspace import Workspace

READY_WITHIN = timedelta(minutes=15)
"""Time to be ready where no share of the requests is tried first; `progressDeadlineSeconds` is shorter."""
LOOK = 5.0
"""Most seconds between two looks."""
AWAY = 10
"""Looks in a row at a cluster or store that is away, after each of which it was asked again several times already."""
PAUSE = 0.2
"""Least seconds between two looks, whatever changes."""


@dataclass
class Hosted:
    """What was found and done."""

    number: int
    """Of the image in the journal."""
    verdict: Verdict
    mended: list[str] = field(default_factory=list)
    """What somebody else had changed, and is as declared again."""
    is_settled: bool = False
    """Nothing is left to wait for."""


class Follower:
    """Lets a cluster run what was asked for, with what the journal remembers of earlier images."""

    def __init__(self, ws: Workspace, cluster: Cluster, template: Sequence[Object], promise: Promise) -> None:
        """Ask for an image.

        Args:
            ws: The use case, which declares `serving`.
            cluster: Where it runs.
            template: The objects of a service as they are written.
            promise: What is to run.
        """
        self._ws, self._cluster, self._template, self._promise = ws, cluster, template, promise
        self._own: int | None = None
        self._since: datetime | None = None
        self._version = ""

    def step(self, now: datetime) -> Hosted:
        """Look once, and do what follows.

        Raises:
            NotHosted: It was taken back, now or the last time that it was asked for; or it ran well, and does no more.
            Superseded: Somebody asked for a newer one since.
            ClusterAway: The cluster does not answer.
        """
        self._since = self._since or now
        entries = self._begin(now)
        found = hostings(entries)
        trial = found.trial
        mended = self._apply(self._objects(found, now))
        self._refuse(found)
        if trial is None:
            return self._look_at_current(found, mended, now)
        verdict = self._judge(trial, entries, now)
        step = self._next(trial, verdict, now)
        if step is None or not self._append(step, len(entries), now):
            return Hosted(trial.started.number, verdict, mended)
        mended += self._apply(self._objects(hostings(self._ws.journal.entries()), now))
        if isinstance(step, HostingEnded) and verdict.answer is not Answer.PASS:
            raise NotHosted(self._taken_back(trial, found, verdict))
        return Hosted(trial.started.number, verdict, mended, is_settled=isinstance(step, HostingEnded))

    def wait(self, seconds: float = LOOK) -> None:
        """Return when something of the service changes, or after some time."""
        self._cluster.wait_for_change(labels_of(self._promise.slug), self._version, seconds)

    def _begin(self, now: datetime) -> tuple[Entry, ...]:
        """Ask for the image, unless it runs or is on its way, and return the journal that this look decides on."""
        if self._own is None:
            begun = self._ws.journal.decide(lambda entries: self._started(hostings(entries), now), now)
            entries = self._ws.journal.entries()
            self._own = hostings(entries[: begun.seq] if begun else entries).newest
        entries = self._ws.journal.entries()
        newest = hostings(entries).newest
        if newest > self._own:
            raise Superseded(
                f"Hosting {newest} of `{self._promise.slug}` began after {self._own}, which this was asked for. "
                "Nothing more was done."
            )
        return entries

    def _started(self, found: Hostings, now: datetime) -> HostingStarted | None:
        last = found.trial.started if found.trial else found.current
        if found.refusal(*self._wanted) is not None or (last is not None and self._is_wanted(last)):
            return None
        serving = self._ws.use_case.serving or Serving()
        is_tried = found.current is not None and serving.rollout != "direct"
        return HostingStarted(
            number=found.newest + 1,
            image=self._promise.image,
            variables=self._promise.variables,
            steps=serving.canary.steps if is_tried else (),
            deadline=now + (serving.trial.deadline if is_tried else READY_WITHIN),
        )

    def _refuse(self, found: Hostings) -> None:
        """Refuse what was taken back, after the cluster was told: whoever took it back may have died before that."""
        refusal = found.refusal(*self._wanted)
        if refusal is not None:
            raise NotHosted(
                f"`{self._promise.image}` was taken back before: {refusal.reasons[0]} Build another image, or change "
                "what the service is told. What ran before runs on."
            )

    @property
    def _wanted(self) -> tuple[str, dict[str, str]]:
        return self._promise.image, self._promise.variables

    def _is_wanted(self, one: HostingStarted) -> bool:
        return (one.image, one.variables) == self._wanted

    def _objects(self, found: Hostings, now: datetime) -> list[Object]:
        """What the cluster should have, as the journal says: nothing where nothing ever ran well."""
        trial, current = found.trial, found.current
        everywhere = trial.started if trial and (trial.share is None or current is None) else current
        if everywhere is None:
            return []
        canary = self._canary(trial, now) if trial and trial.started.steps else None
        settings, namespace = self._ws.settings, self._cluster.namespace
        route = (settings.serving_gateway, settings.serving_domain)
        return service_objects(self._template, self._track(everywhere), canary, namespace, *route)

    def _canary(self, trial: Hosting, now: datetime) -> Canary:
        """The replicas beside the others, which stay until the others run the same and are ready."""
        share = trial.started.steps[-1] if trial.share is None else trial.share
        seen = self._condition(canary_name(self._promise.slug), trial.started.number, now)
        return Canary(self._track(trial.started), share, self._beside(), seen.ready)

    def _track(self, one: HostingStarted) -> Track:
        promise = self._promise
        return Track(one.number, Promise(promise.slug, one.image, one.variables, promise.replicas))

    def _beside(self) -> int:
        stable = self._cluster.get("Deployment", self._promise.slug)
        return stable["spec"].get("replicas", 1) if stable else self._promise.replicas

    def _apply(self, objects: Sequence[Object]) -> list[str]:
        """Apply all objects, delete what is left of another phase, and tell what somebody else had changed."""
        mended = [told for one in objects for told in apply_whole(self._cluster, one)]
        for kind, name in leftovers(self._promise.slug, objects):
            self._remove(kind, name)
        return mended

    def _remove(self, kind: str, name: str) -> None:
        """Delete an object if it is this service's own, and not another's that has such a name."""
        found = self._cluster.get(kind, name)
        if found and labels_of(self._promise.slug).items() <= found["metadata"].get("labels", {}).items():
            self._cluster.delete(kind, name)

    def _judge(self, trial: Hosting, entries: Sequence[Entry], now: datetime) -> Verdict:
        slug = self._promise.slug
        name = slug if trial.share is None else canary_name(slug)
        champion = fold(entries).champion
        evidence = Evidence(0, 0, {}, 0, Counts(), Counts())
        if trial.share is not None and champion is not None:
            evidence = gather(trial, slug, read_reports(self._ws), champion.number, now)
        serving = self._ws.use_case.serving or Serving()
        said = decide_hosting(trial, self._condition(name, trial.started.number, now), evidence, serving, now)
        release = {"release": float(champion.number)} if champion else {}
        return said.model_copy(update={"numbers": {**said.numbers, **release}})

    def _condition(self, name: str, number: int, now: datetime) -> Condition:
        deployment = self._cluster.get("Deployment", name)
        listed = self._cluster.list("Pod", labels_of(self._promise.slug))
        self._version = listed["metadata"].get("resourceVersion", "")
        if deployment is None or _hosting(deployment["spec"]["template"]) != str(number):
            return Condition(Answer.INCONCLUSIVE, f"There is no Deployment `{name}` of hosting {number} yet.")
        pods = [one for one in listed["items"] if _hosting(one) == str(number) and not _is_ending(one)]
        return condition(deployment, pods, now, self._promise.replicas if name == self._promise.slug else 0)

    def _look_at_current(self, found: Hostings, mended: list[str], now: datetime) -> Hosted:
        current, last = found.current, found.all[found.newest]
        if current is None:
            raise NotHosted(f"Nothing of `{self._promise.slug}` ever ran well. Look at its last verdict, and mend it.")
        if last.verdict and not self._is_wanted(current):
            raise NotHosted(self._taken_back(last, found, last.verdict))
        seen = self._condition(self._promise.slug, current.number, now)
        is_late = self._since is not None and now - self._since > READY_WITHIN
        if seen.answer is Answer.FAIL or (is_late and seen.answer is not Answer.PASS):
            raise NotHosted(
                f"`{current.image}` of `{self._promise.slug}` ran well and does not any more: {seen.reason} Nothing "
                "was changed, as going back to older code would not help; look at the cluster."
            )
        verdict = Verdict(answer=seen.answer, reasons=(seen.reason,))
        return Hosted(current.number, verdict, mended, is_settled=seen.answer is Answer.PASS)

    def _next(self, trial: Hosting, verdict: Verdict, now: datetime) -> Record | None:
        number, is_overdue = trial.started.number, now >= trial.started.deadline
        if verdict.answer is Answer.FAIL or (is_overdue and verdict.answer is not Answer.PASS):
            return HostingEnded(number=number, verdict=verdict)
        if verdict.answer is not Answer.PASS:
            return None
        if trial.share is None:
            return HostingEnded(number=number, verdict=verdict)
        return HostingAdvanced(number=number, step=trial.step + 1, verdict=verdict)

    def _append(self, record: Record, head: int, now: datetime) -> bool:
        """Write it, unless the journal went on since it was decided: then the next look decides again."""
        try:
            self._ws.journal.append(record, now, head=head)
        except Conflict:
            return False
        return True

    def _taken_back(self, trial: Hosting, found: Hostings, verdict: Verdict) -> str:
        before = f"`{found.current.image}` runs on" if found.current else "Nothing ran before it, and nothing is left"
        is_its_own = verdict.answer is Answer.FAIL
        then = "Mend it, build another image, and apply again." if is_its_own else "It may be asked for again."
        return f"`{trial.started.image}` does not run for `{self._promise.slug}`: {verdict.reasons[0]} {before}. {then}"


def follow(
    follower: Follower, clock: Callable[[], datetime], rest: Callable[[float], None], tell: Callable[[str], None]
) -> Hosted:
    """Take steps until there is nothing to wait for; by each deadline there is not.

    Args:
        follower: Of one service.
        clock: The time.
        rest: Sleeps.
        tell: Gets what changed since the last look.
    """
    said, away = "", 0
    while True:
        try:
            found, away = follower.step(clock()), 0
        except Transient as error:
            away += 1
            tell(str(error))
            if away >= AWAY:
                raise
            rest(LOOK)
            continue
        for one in found.mended:
            tell(one)
        if found.verdict.reasons[0] != said:
            said = found.verdict.reasons[0]
            tell(said)
        if found.is_settled:
            return found
        rest(PAUSE)
        follower.wait()


def _hosting(labelled: Object) -> str:
    found: str = labelled["metadata"].get("labels", {}).get(HOSTING, "")
    return found


def _is_ending(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]
