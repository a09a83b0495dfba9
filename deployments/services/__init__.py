"""The services of one machine: a Prefect server, an MLflow server and a worker, started, watched and stopped."""
