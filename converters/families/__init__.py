"""One file per family of models, which states only what differs, and what they share."""
