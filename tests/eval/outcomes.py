"""Outcomes of made-up pipelines, for the tests of measures."""

from __future__ import annotations

from collections.abc import Sequence

from ragib.compressor.training.records import LabelledPassage, Record
from ragib.eval.evalset import EvalQuery
from ragib.eval.outcome import Outcome
from ragib.types import Answer, Citation, Evidence, Hit, Passage

TEXT = "The tower is old. It was built by Rome in spring. A dog ran."


def query(
    name: str = "q",
    answers: Sequence[str] = ("Rome",),
    *,
    answerable: bool | None = True,
    gold: str = "d",
) -> EvalQuery:
    """Ask a question whose gold passage is the third of five."""
    noise = [LabelledPassage(f"n{i}", "", f"noise {i}", False, (), ()) for i in range(4)]
    right = LabelledPassage(gold, "", TEXT, True, ((34, 38),), ())
    passages = (*noise[:2], right, *noise[2:])
    record = Record(name, "s", "who?", tuple(answers), True, "answer-sentence", passages)
    return EvalQuery(name, "who?", tuple(answers), answerable, {gold: 1}, "", record)


def answer(
    text: str = "Rome",
    *,
    cited: Sequence[Citation] = (),
    kept: Sequence[tuple[int, int]] = (),
    abstained: bool = False,
    flags: Sequence[str] = (),
    words: tuple[int, int] = (14, 7),
    hits: Sequence[str] = ("d",),
) -> Answer:
    """Answer from document `d`, of which the passage begins at its second sentence."""
    passages = [Passage(f"{name}#1", name, TEXT[18:], "", 18, 60) for name in hits]
    return Answer(
        question="who?",
        text=text,
        citations=tuple(cited),
        evidence=tuple(Evidence("d#1", s, e, TEXT[18:][s:e], 1.0) for s, e in kept),
        hits=tuple(Hit(p, 1.0 / rank) for rank, p in enumerate(passages, start=1)),
        abstained=abstained,
        timings={},
        usage={"words_in": words[0], "words_kept": words[1]},
        flags=tuple(flags),
    )


def outcome(given: Answer | None, asked: EvalQuery | None = None, **more: object) -> Outcome:
    return Outcome(asked or query(), given, texts={"d": TEXT}, **more)  # type: ignore[arg-type]
