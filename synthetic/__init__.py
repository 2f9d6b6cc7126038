"""A dataset drawn by code, for the demo and for tests."""
