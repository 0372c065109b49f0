"""Benchmarks: each prints its command, the hardware and the versions it ran on."""
