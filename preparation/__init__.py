"""From what was downloaded to the layout that the scripts read."""
