from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.eval.answers import em_squad2, f1_squad2, normalise

# Expected values follow from the definitions of the official SQuAD 2.0 script, worked out by hand:
# lower-case, then drop ASCII punctuation, then articles, then white space; right answers that are
# then nothing are passed over; with none left, nothing is the right answer.
CASES = [
    # letter case, punctuation, articles
    ("The Eiffel Tower!", ["Eiffel tower"], 1, 1),
    ("an Eiffel tower, the", ["EIFFEL TOWER"], 1, 1),
    ("(Paris)", ["paris."], 1, 1),
    # articles inside words stay, and so do those that punctuation has joined to a word
    ("theatre", ["atre"], 0, 0),
    ("Anne", ["ne"], 0, 0),
    ("the-end", ["end"], 0, 0),
    ("the-end", ["theend"], 1, 1),
    ("a.m.", ["am"], 1, 1),
    ("A. M.", ["m"], 1, 1),
    ("panama", ["pnm"], 0, 0),
    # nothing but an article or punctuation is nothing
    ("the", ["a"], 1, 1),
    ("A", ["A"], 1, 1),
    ("A", ["B"], 0, 0),
    ("", ["The", "Paris"], 0, 0),
    ("Paris", ["The", "Paris"], 1, 1),
    ("...", ["?!"], 1, 1),
    ("Vitamin", ["A"], 0, 0),
    # punctuation beyond ASCII stays
    ("“Paris”", ["Paris"], 0, 0),
    ("Jean\u2013Luc", ["Jean-Luc"], 0, 0),
    ("Jean-Luc", ["Jean Luc"], 0, 0),
    ("¿Qué?", ["qué"], 0, 0),
    ("it\u2019s", ["its"], 0, 0),
    ("it's", ["its"], 1, 1),
    # numbers
    ("3,000", ["3000"], 1, 1),
    ("1.5", ["15"], 1, 1),
    ("$5", ["5"], 1, 1),
    ("5%", ["5 percent"], 0, 2 / 3),
    ("twelve", ["12"], 0, 0),
    ("1990-91", ["199091"], 1, 1),
    ("\u0663", ["3"], 0, 0),
    # white space of any kind parts words
    ("New\u00a0York", ["new york"], 1, 1),
    ("New\n\tYork ", ["new york"], 1, 1),
    ("New\u200bYork", ["new york"], 0, 0),
    # letters: lower-casing is no folding, and forms are not brought together
    ("STRASSE", ["straße"], 0, 0),
    ("caf\u00e9", ["cafe\u0301"], 0, 0),
    ("CAFÉ", ["café"], 1, 1),
    # no answer
    ("", [], 1, 1),
    ("  ", [], 1, 1),
    ("the", [], 1, 1),
    ("a guess", [], 0, 0),
    ("", ["Paris"], 0, 0),
    # several right answers: the best counts
    ("tower", ["Eiffel tower", "spire"], 0, 2 / 3),
    ("spire", ["Eiffel tower", "spire"], 1, 1),
    ("big red dog", ["red cat", "big dog"], 0, 4 / 5),
    # words count as often as both have them
    ("red red", ["red dog"], 0, 0.5),
    ("red red dog", ["red red"], 0, 4 / 5),
    ("dog red", ["red dog"], 0, 1),
    ("the the red", ["red"], 1, 1),
]


@pytest.mark.parametrize(("answer", "right", "em", "f1"), CASES)
def test_squad2_measures(answer: str, right: list[str], em: float, f1: float) -> None:
    assert em_squad2(answer, right) == em
    assert f1_squad2(answer, right) == pytest.approx(f1)


def slow_normalise(text: str) -> str:
    """Do one thing at a time, each on its own."""
    kept = [c for c in text.lower() if c not in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"]
    words, word = [], ""
    for c in [*kept, " "]:
        in_word = c.isalnum() or c == "_"
        if in_word:
            word += c
            continue
        words += [word, c] if word not in ("a", "an", "the") else [" ", c]
        word = ""
    return " ".join("".join(words).split())


@given(st.lists(st.sampled_from([*"aAnN e.,-'_\u00a0“", "the", "The ", "an ", "É", "1"])))
def test_normalising_as_one_step_after_the_other(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert normalise(text) == slow_normalise(text)


@given(st.text(), st.lists(st.text()))
def test_exact_answers_overlap_wholly_and_order_is_of_no_account(
    text: str, right: list[str]
) -> None:
    em, f1 = em_squad2(text, right), f1_squad2(text, right)
    assert em <= f1 <= 1
    shuffled = random.Random(0).sample(right, len(right))
    assert (em_squad2(text, shuffled), f1_squad2(text, shuffled)) == (em, f1)
    assert em_squad2(text, [text]) == f1_squad2(text, [text]) == 1
