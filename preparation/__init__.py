"""From what was downloaded to a checked dataset."""
