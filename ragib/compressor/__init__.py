"""Compressors: keep the sentences that carry the answer."""
