"""What is read of a checkpoint's folder and of an adapter's: JSON, weights, the model card."""
