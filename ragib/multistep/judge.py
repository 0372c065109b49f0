r"""What a step was worth: the gain in the information-bottleneck score, in nats.

With x_t the passages found up to step t, x~_t what is kept of them, q the question and y_t the
answer that the evidence model reads out of x~_t,

    IB(x~; y) = |x~| / |x_t| - log p(y | q, x~)                 (lower is better)
    gain_t    = IB(x~_{t-1}; y_t) - IB(x~_t; y_t)
              = log p(y_t | q, x~_t) - log p(y_t | q, x~_{t-1}) - (|x~_t| - |x~_{t-1}|) / |x_t|

where |.| counts words: how much surer of today's answer the new evidence makes, less what it
costs to read. `ragib.compressor.ib_score.score_with_reader` computes IB, with alpha = 1; an answer
that did not stand in x~_{t-1} has the probability of one token chosen blindly there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragib.compressor.answers import find_answers
from ragib.compressor.ib_score import Kept, score_with_reader
from ragib.compressor.model import EvidenceModel
from ragib.compressor.windows import tokenise
from ragib.types import Compressed, Evidence


@dataclass(frozen=True, slots=True)
class Verdict:
    """The best answer so far, and the IB score of its evidence, `None` where there is none.

    `gain` is over the evidence before, and `None` where there was none.
    """

    answer: str = ""
    score: float | None = None
    gain: float | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """The evidence model as it looks back on a step."""

    model: EvidenceModel

    def weigh(
        self,
        question: str,
        kept: Compressed,
        before: Sequence[Evidence] | None,
        titles: Mapping[str, str],
    ) -> Verdict:
        """Score what is kept after a step.

        Parameters
        ----------
        question
            The question itself.
        kept
            What is kept of all passages found so far.
        before
            What was kept after the step before.
        titles
            Passage id -> title.
        """
        [found] = find_answers(self.model, [(question, kept.evidence)], titles)
        if found is None:
            return Verdict(gain=0.0 if before else None)
        candidates = [
            Kept(question, [piece.text for piece in pieces], kept.words_in, [found.text])
            for pieces in (kept.evidence, before)
            if pieces
        ]
        score, *earlier = score_with_reader(self.model, candidates)
        return Verdict(found.text, score, earlier[0] - score if earlier else None)

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text, as budgets of the trained compressor do."""
        return [len(text) for text in tokenise(self.model.tokenizer, list(texts))]
