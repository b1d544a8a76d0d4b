"""Files of what both models have in memory of a conversation."""
