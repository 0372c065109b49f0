"""The HTTP server: an OpenAI-compatible endpoint, search, compression, metrics and a page.

All of it needs `ragib[serve]`; `ragib.cli.serve` says so where that is not installed.
"""
