"""Search your own photos by drawing."""
