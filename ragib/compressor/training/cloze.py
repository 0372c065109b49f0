"""Two-hop questions made of the passages alone, where each passage has a subject of its own.

Questions about an article share its title, so a model trained on them learns that titles say
nothing; passages of a real corpus differ in theirs. Here passages are cut into pieces that begin
with a name, which becomes the piece's title. A bridge question is made of words of a sentence that
mentions a name and of words of a piece about it, the name left out; a comparison names the titles
of two pieces. Made from plain text, as in the inverse cloze task (Lee et al. 2019,
arXiv:1906.00300); such questions have evidence but no known answer.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ragib.compressor.selection import sentence_spans
from ragib.compressor.training.records import LabelledPassage, Record
from ragib.text import Span

_WORD = r"[A-Z](?:[\w'\u2019-]|\.(?=\w))+"
_NAME = rf"{_WORD}(?: (?:of |the |de |van |von |and )?{_WORD}){{0,4}}"
_LEADING = re.compile(rf"(?:The )?({_NAME}) [a-z(]")
_INSIDE = re.compile(rf"(?<=[a-z,] )({_NAME})")
_SMALL = re.compile(r"\b[a-z]+\b")
_COMPARISONS = (
    "Which {chunk}, {first} or {second}?",
    "Did both {first} and {second} {chunk}?",
    "Are {first} and {second} both {chunk}?",
    "Who or what came first, {first} or {second}?",
    "What do {first} and {second} have in common?",
)
_BRIDGES = (
    "What {chunk} that {rest}?",
    "Who {chunk} of the one {rest}?",
    "When {chunk} the {rest}?",
    "Where {chunk} which {rest}?",
    "{rest} {chunk}?",
)
_DISTRACTORS = 4


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some sentences of a passage, the first of which begins with the title."""

    title: str
    text: str
    sentences: tuple[Span, ...]
    source: int


def cloze_questions(records: Sequence[Record], seed: int, count: int) -> list[Record]:
    """Make questions from the passages of records.

    Parameters
    ----------
    records
        Where the passages come from.
    seed
        Draws pieces and words.
    count
        How many to make, two bridges to a comparison; fewer if the text gives fewer.
    """
    rng = random.Random(seed)  # noqa: S311
    texts = list(dict.fromkeys(p.text for r in records for p in r.passages))
    pieces, mentions = _cut(texts, rng)
    by_title: dict[str, list[_Piece]] = defaultdict(list)
    for piece in pieces:
        by_title[piece.title].append(piece)
    bridged = sorted(by_title.keys() & mentions.keys())
    made: list[Record] = []
    for number in range(4 * count if len(pieces) > _DISTRACTORS and bridged else 0):
        if len(made) == count:
            break
        if number % 3:
            name = rng.choice(bridged)
            found = _bridge(name, rng.choice(by_title[name]), rng.choice(mentions[name]), rng)
        else:
            found = _comparison(rng.choice(pieces), rng.choice(pieces), rng)
        if found is not None:
            question, gold = found
            made.append(_record(f"cloze-{seed}-{number}", question, gold, pieces, rng))
    return made


def _cut(texts: Sequence[str], rng: random.Random) -> tuple[list[_Piece], dict[str, list[_Piece]]]:
    """Return pieces that begin with a name, and by name the pieces that mention it first.

    A name counts only if it stands inside sentences too, and more often than in small letters:
    other beginnings are not names. Of a piece found by a mention, the first span is that of the
    sentence with the mention.
    """
    inside: Counter[str] = Counter()
    small: Counter[str] = Counter()
    cut = [(text, sentence_spans(text)) for text in texts]
    for text, _ in cut:
        inside.update(match[1] for match in _INSIDE.finditer(text))
        small.update(_SMALL.findall(text))
    pieces: list[_Piece] = []
    mentions: dict[str, list[_Piece]] = defaultdict(list)
    for source, (text, spans) in enumerate(cut):
        for first, (start, _) in enumerate(spans):
            match = _LEADING.match(text, start)
            if match is None or inside[match[1]] < max(2, 2 * small[match[1].lower()]):
                continue
            last = min(len(spans), first + rng.randint(2, 5))
            here = tuple((s - start, e - start) for s, e in spans[first:last])
            piece = _Piece(match[1], text[start : spans[last - 1][1]], here, source)
            pieces.append(piece)
            for s, e in here:
                for name in _INSIDE.findall(piece.text[s:e]):
                    if name != piece.title:
                        mentions[name].append(
                            _Piece(piece.title, piece.text, ((s, e), *here), source)
                        )
    return pieces, mentions


def _bridge(
    name: str, about: _Piece, mention: _Piece, rng: random.Random
) -> tuple[str, list[tuple[_Piece, Span]]] | None:
    if about.source == mention.source or about.title == mention.title:
        return None
    span = rng.choice(about.sentences[:2])
    chunk = _chunk(about.text[slice(*span)], name, rng)
    told = mention.sentences[0]
    rest = _chunk(mention.text[slice(*told)], name, rng, 8)
    if mention.title not in rest:
        rest = f"{mention.title} {rest}"
    question = rng.choice(_BRIDGES).format(chunk=chunk, rest=rest)
    return question, [(about, span), (mention, told)]


def _comparison(
    first: _Piece, second: _Piece, rng: random.Random
) -> tuple[str, list[tuple[_Piece, Span]]] | None:
    if first.title == second.title or first.source == second.source:
        return None
    chunk = _chunk(first.text[slice(*first.sentences[0])], first.title, rng)
    question = rng.choice(_COMPARISONS).format(first=first.title, second=second.title, chunk=chunk)
    return question, [(first, first.sentences[0]), (second, second.sentences[0])]


def _chunk(sentence: str, name: str, rng: random.Random, most: int = 5) -> str:
    """Take a few words in a row, without the name."""
    words = re.sub(r"[^\w\s'-]", " ", sentence.replace(name, "")).split()
    length = min(len(words), rng.randint(2, most))
    begin = rng.randint(0, len(words) - length)
    return " ".join(words[begin : begin + length])


def _record(
    name: str,
    question: str,
    gold: Sequence[tuple[_Piece, Span]],
    pieces: Sequence[_Piece],
    rng: random.Random,
) -> Record:
    """Add distractors: other pieces, half of them from nearby in the collection."""
    taken = {piece.text for piece, _ in gold}
    sources = {piece.source for piece, _ in gold}
    passages = [_passage(piece, (span,)) for piece, span in gold]
    center = pieces.index(gold[0][0])
    for number in range(3 * _DISTRACTORS):
        if len(passages) == _DISTRACTORS + 2:
            break
        near = number % 2 == 0
        at = (center + rng.randint(-40, 40)) % len(pieces) if near else rng.randrange(len(pieces))
        piece = pieces[at]
        if piece.text not in taken and piece.source not in sources:
            taken.add(piece.text)
            passages.append(_passage(piece, ()))
    rng.shuffle(passages)
    return Record(name, "cloze", question, (), True, "human", tuple(passages))


def _passage(piece: _Piece, evidence: tuple[Span, ...]) -> LabelledPassage:
    digest = hashlib.sha256(f"{piece.title}\n{piece.text}".encode()).hexdigest()[:14]
    return LabelledPassage(f"p{digest}", piece.title, piece.text, bool(evidence), (), evidence)
