"""The four terms of the objective, each a small file; knows tensors, not models."""
