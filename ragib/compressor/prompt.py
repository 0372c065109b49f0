"""What a generative compressor reads and writes; training and use build both here.

It reads an instruction, the passages, each on a line of its own so that none can pass for another
or for the question, and the question. It writes sentences of the passages, one a line, or that
there is none. The text is plain, without a chat template: the model is trained on this very form.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ragib.compressor.selection import sentence_spans
from ragib.text import one_line

DISCARD = "[DISCARD]"
"""Written in place of sentences where no passage answers the question."""

QUESTION_WORDS = 128
"""A longer question is cut."""

_TASK = (
    "Copy the sentences of the passages that answer the question, word for word, one a line. "
    f"If there are none, write {DISCARD}."
)


def prompt(question: str, passages: Sequence[tuple[str, str]], control: Iterable[str] = ()) -> str:
    """Return what the model reads.

    Parameters
    ----------
    question
        The question.
    passages
        Title and text of each.
    control
        The control tokens of the tokenizer: a space breaks them up wherever they occur.
    """
    asks = block("", " ".join(question.split()[:QUESTION_WORDS]))
    blocks = [block(title, text) for title, text in passages]
    text = "\n\n".join([_TASK, *blocks, f"Question: {asks}\nEvidence:"])
    for token in control:
        if len(token) > 1:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def block(title: str, text: str) -> str:
    """Return a passage as it stands in the prompt; lone surrogates become question marks."""
    line = one_line(f"{title}: {text}" if title else text)
    return line.encode("utf-8", "replace").decode("utf-8")


def completion(sentences: Sequence[str]) -> str:
    """Return what the model is to write."""
    return " " + ("\n".join(map(one_line, sentences)) or DISCARD)


def parse(text: str) -> list[str]:
    """Return the sentences that the model wrote; none if it discards everything."""
    found: list[str] = []
    for line in text.splitlines():
        if line.strip() == DISCARD:
            break
        found += [line[start:end] for start, end in sentence_spans(line)]
    return found
