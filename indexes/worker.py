"""A process that encodes shards for the one that started it: `python -m ragib.indexes.worker`.

It reads lines of JSON from stdin, the task and then one shard at a time, and writes a line for
each shard to stdout: where its files are and their digest, or what went wrong. When stdin ends, the
one who started it is gone or done, and so is the worker, whatever it is doing.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from queue import SimpleQueue
from typing import Any

from ragib.errors import RagibError
from ragib.indexes.shards import EncodeShard, ShardSpec, from_task


def main() -> None:
    """Work until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is for people
    orders: SimpleQueue[dict[str, Any]] = SimpleQueue()
    threading.Thread(target=_read, args=(orders,), daemon=True).start()
    task = orders.get()
    encode: EncodeShard | None = None
    while True:
        spec = ShardSpec(**orders.get())
        try:
            encode = encode or from_task(task)
            receipt = encode(spec)
            answer = {"folder": str(receipt.folder), "sha256": receipt.sha256}
        except RagibError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        except Exception:
            answer = {"error": "", "message": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _read(orders: SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        orders.put(json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    main()
