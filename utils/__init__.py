"""Files, seeds, run folders, devices: what every room may use and none of them owns."""
