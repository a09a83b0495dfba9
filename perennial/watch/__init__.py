"""From answers to findings: drift, performance, reports and the retraining policy."""
