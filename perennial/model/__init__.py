"""From features to a registered model: candidates, metrics, artifacts, MLflow."""
