"""Whether a converted or quantized file still predicts, splits and prompts as its origin does."""
