"""The user's models on disk, and the hub that they come from."""
