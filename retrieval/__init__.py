"""Ranking, metrics, hash codes and statistics on plain arrays; no model, no files."""
