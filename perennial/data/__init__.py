"""From a source to features: deliveries, contracts, the lake, the engine."""
