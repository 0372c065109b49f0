"""The generative compressor: a causal language model copies the sentences that answer.

Unlike a classifier it may write what stands nowhere. So each sentence is aligned to its source
(`ragib.compressor.align`), and only spans of passages are passed on; `written` gives the sentences
as they are, those without a source marked, to whoever asks for them. A model that writes
`[DISCARD]`, or nothing with a source, abstains. `ragib train compressor --form generative` trains
one (Zhu et al. 2024, arXiv:2406.01549, train theirs on IB scores too).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ragib.compressor.align import Source, align
from ragib.compressor.language_model import load_language_model, load_tokenizer
from ragib.compressor.prompt import parse, prompt
from ragib.compressor.selection import ScoredSentence, Sentence, select, sentence_spans
from ragib.compressor.token_classifier import one_reason, sentence_windows
from ragib.compressor.windows import tokenise
from ragib.compressor.writers import Writer, transformers_writer, written_tokens
from ragib.config import CompressorConfig, EncoderConfig
from ragib.errors import InputError
from ragib.extras import require
from ragib.models import locate
from ragib.text import strip_span
from ragib.types import Compressed, Dropped, Question

SETTINGS = "generative.json"
"""Beside the weights, written when they are complete: how much the model was trained to read."""

FORMAT = 1
LEAST_TOKENS = 128
"""A model that reads and writes fewer together is refused."""

UNWRITTEN = "the model did not write it"

_PURPOSE = "the generative compressor"
_SLACK = 8  # tokens: what joins texts, and texts joined may have a few more than texts apart
_LEAST_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Written:
    """A sentence the model wrote, and where it stands in the passages; `None`: nowhere."""

    text: str
    source: Source | None


@dataclass(frozen=True, slots=True)
class Part:
    """What is read of a passage at once: its position, its title, and offsets in its text."""

    passage: int
    title: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class GenerativeCompressor:
    """Keeps the spans of passages that a language model copies for the question.

    `max_tokens` are those of a prompt with what is written; passages that are more are read a part
    at a time. `keep`, `budget` and `threshold` are those of `ragib.compressor.selection.select`; a
    score is the share of a written sentence's words that stand in the source in one run.
    """

    tokenizer: Any
    write: Writer
    max_tokens: int
    keep: float | None = None
    budget: int | None = None
    threshold: float | None = None

    name: ClassVar[str] = "generative"

    def compress(self, questions: Sequence[Question]) -> list[Compressed]:
        """Keep what the model wrote and has a source, within the limits."""
        return [
            self._select(question, [one.source for one in written if one.source is not None])
            for question, written in zip(questions, self.written(questions), strict=True)
        ]

    def written(self, questions: Sequence[Question]) -> list[list[Written]]:
        """Return the sentences that the model wrote for each question, with or without source."""
        asked = [(n, parts) for n, q in enumerate(questions) for parts in self._groups(q)]
        shown = [[_shown(questions[n], part) for part in parts] for n, parts in asked]
        control = sorted(self.tokenizer.all_special_tokens)
        prompts = [
            self.tokenizer(prompt(self._cut(questions[n].text, 4), texts, control)).input_ids
            for (n, _), texts in zip(asked, shown, strict=True)
        ]
        found: list[list[Written]] = [[] for _ in questions]
        for (n, parts), texts, text in zip(asked, shown, self.write(prompts), strict=True):
            sentences = parse(text)
            sources = align(sentences, [passage for _, passage in texts])
            for sentence, source in zip(sentences, sources, strict=True):
                found[n].append(Written(sentence, source and _moved(source, parts)))
        return found

    def _groups(self, question: Question) -> Iterator[list[Part]]:
        """Group the passages into prompts; one that does not fit is cut between sentences."""
        asks = self._cut(question.text, 4)
        texts = [prompt(asks, []), *(passage.text for passage in question.passages)]
        empty, *passages = tokenise(self.tokenizer, texts)
        space = self.max_tokens - written_tokens(self.max_tokens) - len(empty) - _SLACK
        group: list[Part] = []
        left = space
        for number, (passage, tokens) in enumerate(zip(question.passages, passages, strict=True)):
            title = self._cut(passage.title, 10)
            head = len(tokenise(self.tokenizer, [title])[0]) + _SLACK
            size = max(_LEAST_TOKENS, space - head)
            for first, last in sentence_windows(tokens, sentence_spans(passage.text), size):
                start, end = int(tokens.spans[first, 0]), int(tokens.spans[last - 1, 1])
                if group and head + last - first > left:
                    yield group
                    group, left = [], space
                group.append(Part(number, title, start, end))
                left -= head + last - first
        if group:
            yield group

    def _cut(self, text: str, share: int) -> str:
        """Cut a text to the `share`-th part of the tokens that a prompt may have."""
        spans = tokenise(self.tokenizer, [text])[0].spans[: self.max_tokens // share]
        return text[: int(spans[-1, 1])] if len(spans) else ""

    def _select(self, question: Question, sources: Sequence[Source]) -> Compressed:
        spans = _merged(sources)
        texts = [question.passages[one.passage].text[one.start : one.end] for one in spans]
        sizes = [len(tokens) for tokens in tokenise(self.tokenizer, texts)]
        chosen = select(
            question,
            [
                ScoredSentence(Sentence(one.passage, one.start, one.end), one.share, size)
                for one, size in zip(spans, sizes, strict=True)
            ],
            keep=self.keep,
            budget=self.budget,
            threshold=self.threshold,
        )
        order = {passage.id: number for number, passage in enumerate(question.passages)}
        dropped = [*chosen.dropped, *_unwritten(question, spans)]
        dropped.sort(key=lambda out: (order[out.passage_id], out.start))
        return replace(chosen, dropped=tuple(dropped))


def load_generative(config: CompressorConfig) -> GenerativeCompressor:
    """Load a trained one: `model` is its folder or hub name.

    Raises
    ------
    InputError
        There is no such model, or it was not trained by ragib.
    MissingExtraError
        torch or transformers is not installed.
    """
    require("torch", _PURPOSE)
    folder, _ = locate(EncoderConfig(model=str(config.model)))
    max_tokens = trained_tokens(folder)
    tokenizer = load_tokenizer(folder)
    write = transformers_writer(load_language_model(folder), tokenizer, max_tokens)
    return GenerativeCompressor(
        tokenizer, write, max_tokens, config.keep, config.budget, config.threshold
    )


def trained_tokens(folder: Path) -> int:
    """Return how many tokens a trained model in a folder reads and writes together.

    Raises
    ------
    InputError
        There is none, or one of another version.
    """
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder}: no generative compressor, {SETTINGS} is missing; ragib train compressor "
            f"--form generative --out {folder} makes one"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {one_reason(error)}") from None
    match settings:
        case {"format": int(form), "max_tokens": int(tokens)}:
            if form == FORMAT and tokens >= LEAST_TOKENS:
                return tokens
    raise InputError(f"{path}: not the settings of a generative compressor of this version")


def _shown(question: Question, part: Part) -> tuple[str, str]:
    return part.title, question.passages[part.passage].text[part.start : part.end]


def _moved(source: Source, parts: Sequence[Part]) -> Source:
    """Count in the passage what was counted in the part of it that was read."""
    part = parts[source.passage]
    start, end = part.start + source.start, part.start + source.end
    return Source(part.passage, start, end, source.share)


def _merged(sources: Sequence[Source]) -> list[Source]:
    """Join sources that overlap; the share of the surest is that of all."""
    found: list[Source] = []
    for one in sorted(sources, key=lambda source: (source.passage, source.start)):
        last = found[-1] if found else None
        if last is not None and last.passage == one.passage and one.start < last.end:
            end, share = max(last.end, one.end), max(last.share, one.share)
            found[-1] = Source(last.passage, last.start, end, share)
        else:
            found.append(one)
    return found


def _unwritten(question: Question, spans: Sequence[Source]) -> Iterator[Dropped]:
    """Yield what is left of the sentences once the spans are taken out."""
    for number, passage in enumerate(question.passages):
        taken = [(one.start, one.end) for one in spans if one.passage == number]
        for start, end in sentence_spans(passage.text):
            for first, last in [*taken, (end, end)]:
                if start < end and last > start:
                    place = strip_span(passage.text, start, min(first, end))
                    if place[0] < place[1]:
                        yield Dropped(passage.id, *place, 0.0, UNWRITTEN)
                    start = max(start, last)
