"""The HTML report of a test, made from arrays and names."""
