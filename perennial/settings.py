"""Where one environment keeps its things, as plain data; the `Environment` block of Prefect wraps it."""

from datetime import timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """All that differs between environments. Fields that come later get a default, so that old documents load."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str = Field(description="Name of the environment: dev, test or prod.")
    storage_root: str = Field(description="Folder or object store URL that holds journal, lake, models and reports.")
    mlflow_tracking_uri: str = Field(
        default="", description="MLflow server; empty for a SQLite file below the storage root."
    )
    use_cases: str = Field(default="use_cases", description="Folder with one folder per use case.")
    engine: Literal["duckdb"] = Field(default="duckdb", description="What runs the queries.")
    threads: int = Field(default=0, ge=0, description="Threads for queries and training; 0 for all cores.")
    memory_limit: str = Field(default="4GB", description="Bound of the engine's memory, after which it spills to disk.")
    storage_endpoint: str = Field(
        default="", description="URL of an S3 API other than Amazon's; its keys come from the AWS variables."
    )
    prefect_api_url: str = Field(default="", description="Prefect server of the environment, as http://host:4200/api.")
    work_pool: Literal["process", "docker", "kubernetes"] = Field(
        default="process", description="Where its flow runs are started: the type of its work pool."
    )
    schedules: Literal["active", "paused"] = Field(
        default="active", description="Whether the schedules of the use cases start runs here."
    )
    approval: Literal["automatic", "person"] = Field(
        default="automatic", description="Who lets a model that was promoted from another environment serve here."
    )
    approval_timeout: timedelta = Field(
        default=timedelta(hours=24), description="Time for a person to approve, after which the answer is no."
    )
    notifications: tuple[str, ...] = Field(
        default=(), description="Notification blocks that are told what people should know, as slack-webhook/alerts."
    )
    serving_host: str = Field(
        default="127.0.0.1", description="Address that the online services listen on where `perennial up` starts them."
    )
    serving_port: int = Field(
        default=8080,
        ge=1,
        le=65535,
        description="Port of the first online service; each further one takes a later one.",
    )
    serving_replicas: int = Field(
        default=2, ge=1, le=64, description="Processes that answer behind the address of each online service."
    )
    serving_secret: str = Field(
        default="",
        description="Secret block with the bearer tokens, comma separated, that open the online services; the "
        "variable PERENNIAL_SERVING_TOKENS goes before it.",
    )
    job_variables: dict[str, Any] = Field(
        default={},
        description="What the template of the work pool says otherwise here, such as networks or cpu_request.",
    )
    flows_image: str = Field(
        default="",
        description="Image of flow runs where they are containers, by digest; empty where `perennial apply` builds it.",
    )
    serving_image: str = Field(
        default="", description="Image of the online services, by digest, which each release puts on record."
    )
    serving_target: Literal["", "process", "docker", "kubernetes"] = Field(
        default="", description="Where the online services run; empty for where the flow runs do."
    )
    serving_gateway: str = Field(
        default="",
        description="Gateway (`namespace/name`) that shares requests by weight where an image is tried on a cluster; "
        "without one the numbers of pods do.",
    )
    serving_domain: str = Field(
        default="",
        description="Domain below which the gateway knows each service by its slug, as `<slug>.example.org`; "
        "empty for the namespace of the environment.",
    )
    cluster_context: str = Field(
        default="",
        description="Context of the kubeconfig by which processes outside of the cluster reach it; empty where only "
        "pods of the cluster may.",
    )
    secrets: dict[str, str] = Field(
        default={},
        description="Environment variables that flows need, each with the Secret block that holds its value.",
    )

    @property
    def serves_on(self) -> Literal["process", "docker", "kubernetes"]:
        """Where the online services run."""
        return self.serving_target or self.work_pool


def without_login(address: str) -> str:
    """Return an address without the user and password that it may have, as it may be shown."""
    place = urlsplit(address).netloc
    return address.replace(place, place.rpartition("@")[2], 1) if "@" in place else address
