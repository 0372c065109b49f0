"""What an index reads from, wherever its passages are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from ragib.config import Kind
from ragib.indexes.base import Queries, TopK
from ragib.indexes.filters import Where
from ragib.indexes.manifest import Manifest
from ragib.types import Passage


class Generation(Protocol):
    """One generation of an index; it stays as it is until it is closed.

    `name` is what error messages call it. `allowed` gives what `nothing` and `find` understand.
    """

    manifest: Manifest
    name: str

    @property
    def root(self) -> Path:
        """The index directory that can be changed; raises `StoreError` if there is none."""
        ...

    def explained(self) -> AbstractContextManager[None]:
        """Tell whether it is damage to the index that what is done inside stumbles over."""
        ...

    def needs(self, kinds: Sequence[Kind]) -> tuple[bool, bool]:
        """Say whether a search of these kinds needs vectors of the questions, and of their tokens.

        Raises
        ------
        IndexDirError
            This version would read or write another form of what is there.
        """
        ...

    def allowed(self, where: Where | None, allow: Iterable[str]) -> Any:  # noqa: ANN401
        """Say which passages a search may return."""
        ...

    def nothing(self, allowed: Any) -> bool:  # noqa: ANN401
        """Say whether there is no such passage."""
        ...

    def find(
        self,
        kinds: Sequence[Kind],
        queries: Queries,
        k: int,
        allowed: Any,  # noqa: ANN401
    ) -> dict[Kind, TopK]:
        """Return the best `k` rows of each query in each kind."""
        ...

    def rows(self, rows: Iterable[int]) -> dict[int, Passage]:
        """Return the passages of these rows."""
        ...

    def find_passage(self, id_: str) -> Passage | None:
        """Return the passage with this id."""
        ...

    def live(self) -> Iterator[Passage]:
        """Read all passages, in row order."""
        ...

    def info(self) -> dict[str, Any]:
        """Return what there is to know about the generation, as JSON values."""
        ...

    def is_current(self) -> bool:
        """Say whether it is still the generation that is current."""
        ...

    def renewed(self) -> Generation:
        """Open the generation that is current now."""
        ...

    def close(self) -> Any:  # noqa: ANN401
        """Let go of it."""
        ...
