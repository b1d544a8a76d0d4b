"""The memory of a pair, planned before anything is loaded."""
