"""A dataset looked through before it is trained on."""
