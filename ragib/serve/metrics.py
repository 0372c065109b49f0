"""What a server counts, in the text form that Prometheus reads.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ragib.serve.gate import Gate
from ragib.types import Answer

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one server, in a registry of their own; the gate is read when they are."""

    def __init__(self, gate: Gate) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "ragib_requests", "Requests by how they ended; 499: the client did not wait.",
            ["route", "status"], registry=registry,
        )  # fmt: skip
        self.request_seconds = Histogram(
            "ragib_request_seconds", "Time from a request to the end of its response.", ["route"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.stage_seconds = Histogram(
            "ragib_stage_seconds", "Time of each stage of a question.", ["stage"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.in_flight = Gauge(
            "ragib_in_flight", "Requests that are not answered yet.", registry=registry
        )
        working = Gauge("ragib_working", "Requests that are worked on.", registry=registry)
        working.set_function(lambda: gate.working)
        queue = Gauge("ragib_queue", "Requests that wait for their turn.", registry=registry)
        queue.set_function(lambda: gate.waiting)
        self.abstentions = Counter(
            "ragib_abstentions", "Questions without an answer in the index.", registry=registry
        )
        self.kept_share = Histogram(
            "ragib_kept_share", "Share of the retrieved words that was kept.",
            buckets=_SHARES, registry=registry,
        )  # fmt: skip

    def answered(self, answer: Answer) -> None:
        """Count an answer: its stages, whether there was one, and what was kept for it."""
        for stage, seconds in answer.timings.items():
            self.stage_seconds.labels(stage).observe(seconds)
        self.abstentions.inc(answer.abstained)
        self.kept(answer.usage.get("words_in", 0), answer.usage.get("words_kept", 0))

    def kept(self, words_in: int, words_kept: int) -> None:
        """Count one compression; where there was nothing to compress there is no share."""
        if words_in:
            self.kept_share.observe(words_kept / words_in)

    def text(self) -> bytes:
        """Return the state of everything."""
        return generate_latest(self._registry)
