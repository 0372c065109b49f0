"""Rerankers: a better order for the best hits, from a model that reads question and passage."""
