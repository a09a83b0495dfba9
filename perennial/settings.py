"""Where one environment keeps its things, as plain data; the `Environment` block of Prefect wraps it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """All that differs between environments. Fields that come later get a default, so that old documents load."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str = Field(description="Name of the environment: dev, test or prod.")
    storage_root: str = Field(description="Folder or object store URL that holds journal, lake, models and reports.")
    mlflow_tracking_uri: str = Field(
        default="", description="MLflow server or database; empty for a SQLite file below the storage root."
    )
    use_cases: str = Field(default="use_cases", description="Folder with one folder per use case.")
    engine: Literal["duckdb"] = Field(default="duckdb", description="What runs the queries.")
    threads: int = Field(default=0, ge=0, description="Threads for queries and training; 0 for all cores.")
    memory_limit: str = Field(default="4GB", description="Bound of the engine's memory, after which it spills to disk.")
