"""Index engines and the directory they live in."""
