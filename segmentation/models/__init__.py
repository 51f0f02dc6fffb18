"""A trained model on disk: card, weights, bundle, hub, and the checks before it runs."""
