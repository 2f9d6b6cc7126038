"""Options, the training loop and the zero-shot test, shared by the entry scripts."""
