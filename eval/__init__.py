"""Evaluation: accuracy against latency against index size."""
