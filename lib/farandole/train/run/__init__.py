"""A run on disk: its directory, checkpoints, history and model."""
