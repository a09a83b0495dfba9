"""What Prometheus is told of the orchestration and of the models."""
