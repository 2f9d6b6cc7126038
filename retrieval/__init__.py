"""Ranking, metrics and hash codes on plain feature arrays; knows nothing of training."""
