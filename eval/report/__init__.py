"""One HTML file of a run: it opens from disk, and loads nothing from anywhere."""
