"""Corpora: files in, documents out, cut into passages."""
