"""Embedding of images, the zero-shot test, the scoring and the comparison of runs."""
