"""The threads that do the work of a server, off its event loop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Workers(ThreadPoolExecutor):
    """A pool that knows what it has not finished, and is never waited for.

    Work whose client has gone is taken out if it has not begun; if it has, its thread is busy until
    it ends, so that there is never more work at once than there are threads.
    """

    def __init__(self, threads: int) -> None:
        super().__init__(threads, "ragib-work")
        self._open: set[Future[Any]] = set()

    @property
    def busy(self) -> int:
        """The number of pieces of work that are not finished."""
        return len(self._open)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:  # noqa: ANN401
        """Take on a piece of work."""
        future = super().submit(fn, *args, **kwargs)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work, and leave what runs to itself."""
        super().shutdown(wait=False, cancel_futures=True)
