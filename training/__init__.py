"""Configuration, training loop and checkpoints."""
