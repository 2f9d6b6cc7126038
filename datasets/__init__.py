"""From folders and lists in SAKE's layout to batches of images and their views."""
