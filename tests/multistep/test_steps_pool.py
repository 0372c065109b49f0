from __future__ import annotations

from itertools import zip_longest

from hypothesis import given
from hypothesis import strategies as st

from ragib.multistep.pool import fresh, within
from ragib.text import count_words
from ragib.types import Compressed, Dropped, Evidence, Hit, Passage, Question

LISTS = st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6), max_size=4)


def hits(names: list[str]) -> list[Hit]:
    return [Hit(Passage(name, name, f"text {name}"), 1.0) for name in names]


def count(texts: list[str]) -> list[int]:
    return [count_words(text) for text in texts]


@given(LISTS, st.sets(st.sampled_from("abcdefgh")), st.integers(0, 9))
def test_fresh_takes_turns(lists: list[list[str]], known: set[str], most: int) -> None:
    wanted: list[str] = []
    for name in [name for rank in zip_longest(*lists) for name in rank if name is not None]:
        if name not in known and name not in wanted:
            wanted.append(name)
    found = fresh([hits(names) for names in lists], known, most)
    assert [hit.passage.id for hit in found] == wanted[:most]


def compressed(sizes: list[int], scores: list[float]) -> tuple[Question, Compressed]:
    """Make a passage a size, of so many words, all of it kept, and a tail that is dropped."""
    texts = [" ".join("w" * size) for size in sizes]
    passages = tuple(Passage(str(i), str(i), f"{text} tail") for i, text in enumerate(texts))
    kept = tuple(
        Evidence(str(i), 0, len(text), text, score)
        for i, (text, score) in enumerate(zip(texts, scores, strict=True))
    )
    dropped = tuple(
        Dropped(str(i), len(text) + 1, len(text) + 5, 0.0, "tail") for i, text in enumerate(texts)
    )
    total = sum(sizes)
    return Question("1", "q", passages), Compressed("1", kept, dropped, total + len(sizes), total)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=6),
    st.integers(0, 40),
)
def test_the_best_that_fits_is_left(rows: list[tuple[int, int]], budget: int) -> None:
    question, kept = compressed([size for size, _ in rows], [score / 3 for _, score in rows])
    fitting = within(question, kept, budget, count)
    if kept.words_kept <= budget:
        assert fitting is kept
        return
    left, wanted = max(1, budget), []
    for number in sorted(range(len(rows)), key=lambda n: (-rows[n][1], n)):
        if rows[number][0] <= left:
            wanted.append(str(number))
            left -= rows[number][0]
    assert [piece.passage_id for piece in fitting.evidence] == sorted(wanted)
    assert fitting.words_kept == sum(rows[int(name)][0] for name in wanted)
    assert fitting.words_in == kept.words_in
    assert fitting.abstained == (not wanted)
    assert len(fitting.dropped) == len(rows) + len(rows) - len(wanted)
    over = f"over the budget of {max(1, budget)} tokens"
    assert {out.reason for out in fitting.dropped if out.reason != "tail"} <= {over}
    places = [(out.passage_id, out.start) for out in fitting.dropped]
    assert places == sorted(places)
