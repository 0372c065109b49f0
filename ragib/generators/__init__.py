"""Generators: answer from evidence, with citations."""
