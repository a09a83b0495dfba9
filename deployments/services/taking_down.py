"""`perennial down`: stop exactly what `perennial up` started, and hand back the runs that this interrupts.

A process worker that is asked to end kills its flows at once and leaves their runs `Running` for ever. Here they are
noted first and then made `AwaitingRetry`: no alarm is raised, and the next worker of the pool goes on with them. So
are those of a worker that was killed and could kill none: they would ask for the server that is stopped.
Every stage finds done what was done before, so that nothing happens twice.
"""

from collections.abc import Iterable
from contextlib import suppress

import psutil

from blocks.local import prefect_home
from blocks.stack import MLFLOW, PREFECT, WORKER, Service, Stack, connected, read_stack
from deployments.services.processes import changing, record, stop
from perennial.settings import Settings


def take_down(settings: Settings) -> tuple[list[str], int]:
    """Stop the online services, the worker and then the servers of an environment on this machine.

    A service finishes the requests that it has begun, and writes down what it answered.

    Returns:
        Names of the services that ran and are stopped, and the number of runs that were interrupted and wait for
        the next worker.

    Raises:
        NotStopped: A process does not end even when it is killed.
    """
    with changing(settings):
        stack = read_stack(settings)
        online = [one for one in stack.services.values() if one.use_case]
        stopped, interrupted = [one.name for one in online if stop(one)], 0
        worker = stack.services.get(WORKER)
        if worker:
            stopped += [WORKER] if worker.process else []
            runs = _stop_worker(worker, str(prefect_home(settings)))
            interrupted = _hand_back(runs, settings) if runs else 0
        for name in (MLFLOW, PREFECT):
            if name in stack.services and stop(stack.services[name]):
                stopped.append(name)
        record(Stack(environment=settings.environment), settings)
    return stopped, interrupted


def _stop_worker(worker: Service, home: str) -> set[str]:
    """Stop a worker and its flows, and return the ids of their runs; it starts none while they are looked for."""
    process = worker.process
    if process:
        process.suspend()
    flows = {one: run for one in psutil.process_iter() if (run := _run_of(one, worker, home))}
    if process:
        process.terminate()
        process.resume()
    stop(worker)
    _kill(flows)
    return set(flows.values())


def _run_of(process: psutil.Process, worker: Service, home: str) -> str | None:
    """Return the run that a process works on for the server of a worker, in the home that `up` gives to its workers."""
    try:
        given = process.environ()
    except psutil.Error:
        return None
    is_ours = given.get("PREFECT_API_URL") in worker.uses and given.get("PREFECT_HOME") == home
    return given.get("PREFECT__FLOW_RUN_ID") if is_ours else None


def _kill(flows: Iterable[psutil.Process]) -> None:
    """Kill what is left of flows, with what they started, as a worker does that is asked to end."""
    for flow in flows:
        with suppress(psutil.NoSuchProcess):
            for one in (flow, *flow.children(recursive=True)):
                one.kill()
    psutil.wait_procs(list(flows), timeout=10)


def _hand_back(runs: set[str], settings: Settings) -> int:
    """Let runs that cannot go on, and the subflows that they were in, wait for another worker."""
    with connected(settings) as address:
        if address is None:
            return 0
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import FlowRunFilter
        from prefect.client.schemas.objects import State
        from prefect.states import AwaitingRetry

        state: State[None] = AwaitingRetry(message="Interrupted by `perennial down`; the next worker goes on with it.")
        handed, found = 0, {"id": {"any_": list(runs)}}
        with get_client(sync_client=True) as client:
            while found:
                batch = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(found))
                for run in batch:
                    if run.state is not None and not run.state.is_final() and not run.state.is_scheduled():
                        client.set_flow_run_state(run.id, state, force=True)
                        handed += run.parent_task_run_id is None
                parents = [str(run.id) for run in batch]
                found = {"parent_flow_run_id": {"any_": parents}} if parents else {}
        return handed
