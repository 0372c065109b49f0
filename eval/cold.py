"""A process that opens an index, answers one question and says what that took.

Started by `ragib.eval.latency.cold_start`, which writes JSON to its standard input.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    """Read `folder`, `config` and `question`; print seconds and bytes as JSON."""
    begin = time.perf_counter()
    from ragib.config import parse_config
    from ragib.indexes.index import Index
    from ragib.pipeline import RAG

    values = json.load(sys.stdin)
    config = parse_config(values["config"], "standard input")
    with Index.open(values["folder"]) as index:
        rag = RAG.from_config(config, index=index)
        try:
            rag.ask(values["question"])
            seconds = time.perf_counter() - begin
        finally:
            rag.close()
    used = {"cold_start_seconds": seconds, "peak_rss_bytes": peak_memory()}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        used["gpu_bytes"] = torch.cuda.max_memory_allocated()
    print(json.dumps(used))


def peak_memory() -> int:
    """Return the most memory this process has held, in bytes.

    Taken from `/proc` where there is one: what `getrusage` says of a process that was just
    started includes the one that started it.
    """
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    if found is not None:
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
