"""From a model to answers: the gate, releases and batch predictions."""
