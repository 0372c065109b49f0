"""The evidence model's own verdict: its passage head reads `[CLS]` and says whether it is relevant.

It is the model that compresses and reads out the answer (Provence: Chirkova et al. 2025,
arXiv:2501.16214), so this takes no download, and no memory where the compressor is the trained
one. Scores are logits; a passage longer than a sequence has that of its best window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import ClassVar

from ragib.compressor.model import EvidenceModel
from ragib.compressor.reading import Text, read, texts_of
from ragib.compressor.windows import make_prefix, windows
from ragib.rerankers.base import Verdicts
from ragib.rerankers.batches import judged
from ragib.types import Passage

BATCH = 8
"""Passages read between two looks at the clock."""


class RelevanceJudge:
    """Scores passages by the relevance head of an evidence model.

    Parameters
    ----------
    source
        Gives the model; called at the first question.
    """

    name: ClassVar[str] = "relevance"
    unit: ClassVar[int] = 1

    def __init__(self, source: Callable[[], EvidenceModel]) -> None:
        self._source = source

    @cached_property
    def model(self) -> EvidenceModel:
        """The model."""
        return self._source()

    def estimate(self, question: str, passages: Sequence[Passage]) -> int:
        """Count the tokens that are read: exact, question and windows' overlap included."""
        return sum(self._length(text) for text in self._texts(question, passages))

    def judge(
        self,
        question: str,
        passages: Sequence[Passage],
        seconds: float | None,
        salt: str | None = None,
    ) -> Verdicts:
        """Read passages with the question; all together if time is no matter."""

        def score(batch: Sequence[Text]) -> tuple[list[float], int]:
            found = [reading.relevance for reading in read(self.model, batch)]
            return found, sum(map(self._length, batch))

        texts = self._texts(question, passages)
        return judged(texts, BATCH if seconds is not None else len(texts), seconds, score)

    def close(self) -> None:
        """Keep the model: it is small, and others may read with it."""

    def _texts(self, question: str, passages: Sequence[Passage]) -> list[Text]:
        return texts_of(self.model, [(question, [(p.title, p.text) for p in passages])])[0]

    def _length(self, text: Text) -> int:
        size, overlap = self.model.settings.max_tokens, self.model.settings.overlap
        prefix = make_prefix(self.model.special, size, text.question, text.evidence, text.title)
        room = prefix.room(size)
        parts = windows(len(text.passage), room, min(overlap, room // 2))
        return sum(len(prefix.ids) + last - first + 1 for first, last in parts)
