"""The commands of search.py: each is `run` of the module of its name, and imports only what it needs."""
