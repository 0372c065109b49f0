"""How a question and a passage become the token sequences the model reads.

    [CLS] question [SEP] (evidence [SEP]) title : passage [SEP]

The first segment holds the question and, in a second reading, the evidence already kept; the
second holds the title and the passage, or a window of it when it is too long. Training and use
build their sequences here, so the model never sees a form it was not trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]

KEPT_TOKENS = 48
"""Most tokens of one kept sentence that a second reading is shown."""
_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text as tokens: `ids` is `(t,)` int32, `spans` `(t, 2)` int32 offsets into the text."""

    ids: Ids
    spans: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.ids)

    def cut(self, first: int, last: int) -> Tokens:
        """Return tokens `first` to `last`, the last one excluded."""
        return Tokens(self.ids[first:last], self.spans[first:last])

    def within(self, start: int, end: int) -> slice:
        """Find the tokens that touch the characters from `start` to `end`.

        Spans never go back, so two binary searches do.
        """
        first = int(np.searchsorted(self.spans[:, 1], start, side="right"))
        last = int(np.searchsorted(self.spans[:, 0], end, side="left"))
        return slice(first, max(first, last))


@dataclass(frozen=True, slots=True)
class Special:
    """The ids of a tokenizer's special tokens."""

    cls: int
    sep: int
    pad: int
    mask: int


@dataclass(frozen=True, slots=True)
class Prefix:
    """What is read in front of a passage: `ids` `(t,)`; segment 1 begins at `segment`."""

    ids: Ids
    segment: int

    def room(self, max_tokens: int) -> int:
        """Return how many tokens of a passage fit behind it."""
        return max_tokens - len(self.ids) - 1


@dataclass(frozen=True, slots=True)
class Pair:
    """One sequence: `ids` `(t,)`; segment 1 begins at `segment`, the passage's tokens at `body`.

    The passage's tokens are `ids[body:-1]`; the last id is the closing separator.
    """

    ids: Ids
    segment: int
    body: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded pairs: `ids`, `types`, `mask` (1 for a token, 0 for padding), each `(b, t)` int64.

    `passage` `(b, t)` bool marks the tokens of the passage.
    """

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    mask: NDArray[np.int64]
    passage: NDArray[np.bool_]


def special_ids(tokenizer: Any) -> Special:  # noqa: ANN401
    """Read the special tokens of a tokenizer; those of RoBERTa's family stand in for BERT's."""
    cls = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    sep = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    mask = tokenizer.mask_token_id
    return Special(cls, sep, tokenizer.pad_token_id, mask if mask is not None else sep)


def tokenise(tokenizer: Any, texts: Sequence[str]) -> list[Tokens]:  # noqa: ANN401
    """Tokenise texts, without special tokens, keeping the characters each token covers."""
    found: list[Tokens] = []
    for begin in range(0, len(texts), _BATCH):
        batch = list(texts[begin : begin + _BATCH])
        encoded = tokenizer(
            batch,
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        for ids, spans in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            found.append(
                Tokens(
                    np.asarray(ids, dtype=np.int32),
                    np.asarray(spans, dtype=np.int32).reshape(-1, 2),
                )
            )
    return found


def make_prefix(
    special: Special, max_tokens: int, question: Ids, evidence: Ids, title: Ids
) -> Prefix:
    """Join what is read in front of a passage.

    The question is cut to a quarter of `max_tokens`, the evidence to three eighths, the title to a
    tenth, so that there is always room for the passage.
    """
    cls, sep = np.array([special.cls], np.int32), np.array([special.sep], np.int32)
    parts = [cls, question[: max_tokens // 4], sep]
    if len(evidence):
        parts += [evidence[: 3 * max_tokens // 8], sep]
    segment = sum(map(len, parts))
    return Prefix(np.concatenate([*parts, title[: max_tokens // 10]]), segment)


def make_pair(special: Special, prefix: Prefix, passage: Ids) -> Pair:
    """Put a passage, or a window of it, behind its prefix."""
    ids = np.concatenate([prefix.ids, passage, np.array([special.sep], np.int32)])
    return Pair(ids, prefix.segment, len(prefix.ids))


def windows(tokens: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Cover `tokens` tokens with windows of `size` that overlap by `overlap`; at least one."""
    if tokens <= size:
        return [(0, tokens)]
    step = size - overlap
    count = -(-(tokens - overlap) // step)
    return [(i * step, min(i * step + size, tokens)) for i in range(count)]


def collate(pairs: Sequence[Pair], pad: int) -> Batch:
    """Pad pairs to the longest of them."""
    width = max(len(pair.ids) for pair in pairs)
    ids = np.full((len(pairs), width), pad, dtype=np.int64)
    types = np.zeros((len(pairs), width), dtype=np.int64)
    mask = np.zeros((len(pairs), width), dtype=np.int64)
    passage = np.zeros((len(pairs), width), dtype=np.bool_)
    for row, pair in enumerate(pairs):
        length = len(pair.ids)
        ids[row, :length] = pair.ids
        types[row, pair.segment : length] = 1
        mask[row, :length] = 1
        passage[row, pair.body : length - 1] = True
    return Batch(ids, types, mask, passage)


def by_length(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Group items of similar length into batches of at most `max_tokens` tokens with padding."""
    group: list[int] = []
    for item in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if group and lengths[group[0]] * (len(group) + 1) > max_tokens:
            yield group
            group = []
        group.append(item)
    if group:
        yield group
