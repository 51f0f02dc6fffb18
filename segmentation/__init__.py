"""What pixels mean: indices, rules, thresholds, networks. Knows nothing of where a pixel lies."""
