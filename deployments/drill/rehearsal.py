"""A model that passes offline and fails live, let loose on a copy of the service while requests come in.

Only the fault is made: training, gate, release, guard, rollback and correction are those that run every day, and the
service is one of real processes. Whoever looks on gets each moment as it happens.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic, sleep

from blocks.stack import Service, run_folder
from deployments.drill.stage import NoDrill, mistaken, prepare
from deployments.drill.swaps import Swap, Swaps
from deployments.drill.traffic import Sent, Traffic, newest_rows
from deployments.services.keys import TOKENS
from deployments.services.launches import serving_launch
from deployments.services.ports import choose_port
from deployments.services.processes import start, stop, wait_until
from deployments.services.serving_up import is_ready
from perennial.errors import Transient
from perennial.model.training import train
from perennial.records import Accepted, Entry, Judged, Registered, Released, ReleaseServed, RolloutEnded
from perennial.release.corrections import correct
from perennial.release.judging import judge_challenger
from perennial.release.rollout import begin
from perennial.workspace import Workspace

LOOPBACK = "127.0.0.1"
_PATIENCE = 120.0
_EVERY = 0.2


class NotCaught(Transient):
    """The faulty model was not taken back in time."""


@dataclass(frozen=True)
class Moment:
    """Something that happened in a drill."""

    seconds: float
    """Since its beginning."""
    what: Entry | Swap | str
    sent: Sent
    """What had become of the requests by then."""


class Rehearsal:
    """One drill, told moment by moment."""

    def __init__(
        self, workspace: Workspace, rollout: str, rate: float, replicas: int, clock: Callable[[], datetime]
    ) -> None:
        """Prepare the copy.

        Args:
            workspace: The original, which is only read.
            rollout: How the faulty version gets to serve: direct, canary or shadow.
            rate: Requests a second.
            replicas: Of the service.
            clock: The time.

        Raises:
            NoDrill: The use case cannot be rehearsed as it stands.
        """
        self._began = monotonic()
        self._rate, self._replicas, self._clock = rate, replicas, clock
        self.copy = prepare(workspace, rollout)
        self._told = self.copy.state().seq
        self._sent = Sent()

    def live_through(self) -> Iterator[Moment]:
        """Start the service, let the faulty version loose, and follow it until it is taken back and made good.

        Raises:
            NoDrill: The gate refused the faulty version already.
            NotCaught: It still served after two minutes.
        """
        with self._service() as (service, token):
            judged = self._faulty()
            yield from self._news()
            wait_until(service, "ready", lambda: is_ready(service), _PATIENCE)
            traffic = Traffic(service.address, self._rate, token, newest_rows(self.copy))
            self._sent = traffic.sent
            with Swaps(self.copy) as swaps, traffic:
                yield self._moment(f"{self._replicas} replicas answer {self._rate:.0f} requests a second")
                if not self._is_served():
                    yield from self._until(lambda one: isinstance(one.record, ReleaseServed))
                begin(self.copy, judged, self._clock(), self._clock())
                yield from self._followed(swaps)
        yield from self._news()
        correct(self.copy, self._clock())
        yield from self._news()

    def _faulty(self) -> Judged:
        """Train and judge a version whose label is upside down; it gets a number, and no place in the registry."""
        ws = mistaken(self.copy)
        as_of = max(one.at for one in ws.journal.entries() if isinstance(one.record, Accepted | Released))
        trained = train(ws, as_of)
        version = 1 + max(one.version for one in ws.state().registered.values())
        number = Registered(model=trained.model, version=version, run="drill")
        ws.journal.decide(lambda entries: number, as_of)
        judged = judge_challenger(ws, trained, as_of)
        if judged.verdict.answer.value != "PASS":
            raise NoDrill(f"The gate refused the faulty version already: {' '.join(judged.verdict.reasons)}")
        return judged

    def _is_served(self) -> bool:
        """Whether what serves is known to answer in good health already, so that there is a way back to it."""
        state = self.copy.state()
        return state.champion is not None and state.champion.number in state.served

    def _followed(self, swaps: Swaps) -> Iterator[Moment]:
        """Tell everything from the release of the faulty version to the last replica that is rid of it."""
        last: Entry | None = None
        for moment in self._until(_is_taken_back):
            if isinstance(moment.what, Entry) and isinstance(moment.what.record, Released):
                last = moment.what
            yield moment
            if isinstance(moment.what, Entry) and isinstance(moment.what.record, Released):
                swap = swaps.of(moment.what.record.number, _PATIENCE)
                yield self._moment(swap) if swap else self._moment("not every replica has taken it on")
        if last is None:
            sleep(1)  # a trial ends with no release: replicas look at the journal every half second

    def _until(self, is_it: Callable[[Entry], bool]) -> Iterator[Moment]:
        deadline = monotonic() + _PATIENCE
        while monotonic() < deadline:
            for one in self._entries():
                yield self._moment(one)
                if is_it(one):
                    return
            sleep(_EVERY)
        raise NotCaught(
            f"After {_PATIENCE:.0f} s of requests it had not happened. The log of the service is in "
            f"`{run_folder(self.copy.settings)}`; `perennial history` tells what was decided, with "
            f"PERENNIAL_STORAGE_ROOT={self.copy.settings.storage_root}."
        )

    def _news(self) -> Iterator[Moment]:
        return map(self._moment, self._entries())

    def _entries(self) -> Iterator[Entry]:
        for one in self.copy.journal.entries()[self._told :]:
            self._told = one.seq
            yield one

    def _moment(self, what: Entry | Swap | str) -> Moment:
        sent = self._sent
        frozen = replace(sent, reasons=sent.reasons.copy(), versions=sent.versions.copy())
        return Moment(monotonic() - self._began, what, frozen)

    @contextmanager
    def _service(self) -> Iterator[tuple[Service, str]]:
        settings = self.copy.settings
        run_folder(settings).mkdir(parents=True, exist_ok=True, mode=0o700)
        port = choose_port(LOOPBACK, ())
        launch = serving_launch(settings, self.copy.use_case, LOOPBACK, port, self._replicas)
        service = start(launch, settings)
        try:
            yield service, launch.environment[TOKENS].partition(",")[0]
        finally:
            stop(service)


def _is_taken_back(entry: Entry) -> bool:
    record = entry.record
    return isinstance(record, RolloutEnded) or (isinstance(record, Released) and record.withdraws is not None)
