"""What is not on the way of a reply: quantizing, tapping, measuring, trying out kernels."""
