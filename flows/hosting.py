"""Host: let a cluster run the online services as they are declared, and follow newer code to its end."""

from prefect import flow
from prefect.logging import get_run_logger

from flows.entry import main, now
from flows.occasion import occasion
from flows.policy import POLICY
from perennial.values import Verdict
from perennial.workspace import Workspace
from tasks.hosting import host_service, is_hosted
from tasks.reconciliation import start_hosting
from tasks.starting import NotDeployed


@flow(**POLICY, description="Let a cluster run an online service as it is declared.")
def host(use_case: str) -> Verdict | None:
    """Let a service run as its use case and environment declare it, where services run on a cluster.

    1. Make its objects as declared, and tell what somebody else had changed of them.
    2. Where the image, or what it is told, is not the one that runs: let it take over, by shares of the requests where
       the use case declares a trial, or take it back.

    A model needs none of this: replicas follow the journal by themselves.

    Returns:
        How it does; `None` where it does not run on a cluster.
    """
    with occasion(use_case) as this:
        if not is_hosted(this.workspace):
            return None
        return host_service(this.workspace, now, get_run_logger().info).verdict


def host_release(workspace: Workspace) -> None:
    """Let a run of `host` see to the service of a release: it may ask the cluster, and has the time to wait for it.

    What becomes of an image is no part of whether a model was released.
    """
    if not is_hosted(workspace):
        return
    try:
        start_hosting(workspace)
    except NotDeployed as error:
        get_run_logger().warning(f"{error} Until then the cluster does not follow.")


if __name__ == "__main__":
    main(host)
