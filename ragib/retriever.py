"""The retriever: an index with settled choices of how to search it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ragib.config import RetrieverConfig
from ragib.errors import ConfigError
from ragib.indexes.filters import Where
from ragib.indexes.index import Index
from ragib.types import PUBLIC, Hit


@dataclass(frozen=True, slots=True)
class Retriever:
    """Finds the passages for questions; all kinds of the index fused, unless configured.

    Raises
    ------
    ConfigError
        `config.store` names a server, and the index is a directory.
    """

    index: Index
    config: RetrieverConfig = field(default_factory=RetrieverConfig)

    def __post_init__(self) -> None:
        store = self.config.store.name
        if store != "native" and self.index.is_local:
            raise ConfigError(
                f"retriever.store.name={store}: the index given is the directory "
                f"{self.index.path}; open it with ragib.indexes.qdrant.generation.open_index, or "
                "leave the store out"
            )

    def retrieve(
        self,
        questions: Sequence[str],
        *,
        where: Where | None = None,
        allow: Iterable[str] = (PUBLIC,),
    ) -> list[list[Hit]]:
        """Return the `config.k` best passages for each question, best first.

        Parameters
        ----------
        questions
            None may be empty.
        where
            Metadata filter; `None` is no filter, an empty one matches nothing.
        allow
            The asker's groups: a document is visible if it names one of them.

        Raises
        ------
        InputError
            A question or the filter cannot be used, or the index lacks the kind asked for.
        """
        return self.index.retrieve(questions, self.config, where=where, allow=allow)
