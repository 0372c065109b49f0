"""Questions of two hops, made by joining two of one hop, as MuSiQue does (Trivedi et al. 2022).

If the answer of one question is named in another, the name can be replaced by a description made
of the first question: "Who directed Film X?" and "Where was Y born?" with answer Y give "Where was
the person who directed Film X born?". Passages of both become one set; neither holds the answer of
the other, so both sentences are evidence. Two unrelated questions joined by "and" stand for
comparisons, where each half has its own evidence.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from ragib.compressor.training.records import LabelledPassage, Record

_ARTICLE = re.compile(r"^(?:the|a|an)\s+", re.IGNORECASE)
_MONTH = re.compile(
    r"\b(?:January|February|March|April|May|June|July|August|September|October|November|December)\b"
)
_PART = re.compile(r"\w+(?:['\u2019.-]\w+)*")
_DO = re.compile(r"^(?:did|do|does|is|are|was|were|has|have|had|can|could|will|would)$")
_LONGEST = 5
_USES_OF_NAME = 40
_USES_OF_QUESTION = 4


def compose(records: Sequence[Record], seed: int, joined: int = 0) -> list[Record]:
    """Make two-hop questions out of one-hop ones.

    Parameters
    ----------
    records
        One-hop records; those without an answer are left out.
    seed
        Which of several possible partners a question gets.
    joined
        How many pairs of unrelated questions to join by "and" as well.

    Returns
    -------
    list of Record
        Of each second question at most one. `answers` are those of the second question; the
        first question's answer is the bridge and is not marked as an answer.
    """
    rng = random.Random(seed)  # noqa: S311
    able = [r for r in records if r.answerable and r.answers]
    named: dict[str, list[int]] = defaultdict(list)
    for i, record in enumerate(able):
        if name := _name(record.answers[0]):
            named[name].append(i)
    uses_of_name: Counter[str] = Counter()
    uses: Counter[int] = Counter()
    made: list[Record] = []
    order = list(range(len(able)))
    rng.shuffle(order)
    for j in order:
        for name, start, end in _names_in(able[j].question, named):
            if uses_of_name[name] >= _USES_OF_NAME:
                continue
            partners = [
                i
                for i in named[name]
                if uses[i] < _USES_OF_QUESTION and _independent(able[i], able[j])
            ]
            if not partners:
                continue
            i = rng.choice(partners)
            question = able[j].question
            text = question[:start] + describe(able[i].question) + question[end:]
            made.append(_join(able[i], able[j], re.sub(r"\b[Tt]he the\b", "the", text), hop=True))
            uses[i] += 1
            uses_of_name[name] += 1
            break
    for _ in range(joined if len(able) > 1 else 0):
        first, second = rng.sample(able, 2)
        text = f"{first.question.rstrip(' ?')} and {second.question}"
        made.append(_join(first, second, text, hop=False))
    return made


def describe(question: str) -> str:
    """Turn a question into a description of its answer, as well as patterns can."""
    text = question.strip().rstrip("?. ").strip()
    first, _, rest = text.partition(" ")
    kind = first.lower()
    second, _, tail = rest.partition(" ")
    if kind == "who" and rest:
        if _DO.match(second.lower()) and tail.lower().startswith(("the ", "a ")):
            return tail
        return f"the person who {rest}"
    if kind in ("what", "which") and rest:
        if second.lower() in ("is", "was", "are", "were"):
            return tail if tail.lower().startswith("the ") else f"what {rest}"
        third = tail.partition(" ")[0]
        if _DO.match(third.lower()) or third.endswith(("s", "ed")):
            return f"the {second} that {tail}"
        return f"the {rest}"
    if kind == "where" and rest:
        return f"the place where {rest}"
    return text[:1].lower() + text[1:]


def _name(answer: str) -> str:
    """Return an answer without its article if it looks like a name, else an empty string."""
    name = _ARTICLE.sub("", answer.strip())
    fits = len(name) >= 4 and len(name.split()) <= _LONGEST and any(c.isupper() for c in name)
    return name if fits and not _MONTH.search(name) else ""


def _names_in(question: str, named: dict[str, list[int]]) -> list[tuple[str, int, int]]:
    """Find known names in a question, the longest first."""
    parts = [match.span() for match in _PART.finditer(question)]
    found = []
    for length in range(min(_LONGEST, len(parts)), 0, -1):
        for k in range(len(parts) - length + 1):
            start, end = parts[k][0], parts[k + length - 1][1]
            if question[start:end] in named:
                found.append((question[start:end], start, end))
    return found


def _independent(first: Record, second: Record) -> bool:
    """Say whether two questions rest on different passages and have different answers."""
    gold = {p.id for p in first.passages if p.gold}
    if any(p.id in gold for p in second.passages if p.gold):
        return False
    answers = {a.lower() for a in first.answers}
    return not any(a.lower() in answers for a in second.answers)


def _join(first: Record, second: Record, question: str, hop: bool) -> Record:
    """Put the passages of two records together; gold ones win over copies among distractors."""
    passages: dict[str, LabelledPassage] = {}
    for record in (first, second):
        for passage in record.passages:
            if passage.id in passages and not passage.gold:
                continue
            if hop and record is first:
                evidence = passage.evidence or passage.answers
                passage = replace(passage, answers=(), evidence=evidence)
            passages[passage.id] = passage
    return Record(
        id=f"{first.id}+{second.id}",
        source="composed" if hop else "joined",
        question=question,
        answers=second.answers,
        answerable=True,
        evidence_kind="answer-sentence",
        passages=tuple(passages.values()),
    )
