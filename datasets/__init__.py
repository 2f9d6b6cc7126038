"""From SAKE's folders and lists to batches of images; knows no model."""
