from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.multistep.queries import MOST, bridges, names
from ragib.types import Evidence


def evidence(text: str, score: float = 0.5, passage: str = "p") -> Evidence:
    return Evidence(passage, 0, len(text), text, score)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ann Lee (27 March 1942) met her in The Hague.", ["Ann Lee", "The Hague"]),
        ("In 1950 Apollo 11 of May 1951 flew 3 times", ["Apollo 11"]),
        ("Were Scott Reed and Ed Wood Danes?", ["Scott Reed", "Ed Wood Danes"]),
        ("at the University of the North, it says", ["University of the North"]),
        ("the books of J. K. Rowling and J.R.R. Tolkien", ["J. K. Rowling", "J.R.R. Tolkien"]),
        ("It ended in Rome. Paris won, and Rome's king", ["Rome", "Paris"]),
        ("Éric de la Tour", ["Éric de la Tour"]),
        ("nobody here, 東京は日本の首都", []),
        ("", []),
    ],
)
def test_names(text: str, found: list[str]) -> None:
    assert names(text) == found


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_names_stand_in_the_text_and_begin_like_names(text: str) -> None:
    found = names(text)
    assert len(set(found)) == len(found)
    for name in found:
        assert name in text
        assert name[0].isupper()


def test_what_the_best_evidence_names_leads_on() -> None:
    pieces = [
        evidence("Nobody knew Oslo.", 0.1, "far"),
        evidence("The Iron Sun was made by Anna Kell.", 0.9),
        evidence("In 1950 Anna Kell lived in Torun.", 0.8, "kell"),
        evidence("A moon of Mars.", 0.7, "moon"),
    ]
    asked = "Where was the maker of The Iron Sun born?"
    assert bridges(asked, pieces, {"kell": "Anna Kell"}, "english") == (
        f"{asked} Anna Kell",
        f"{asked} Torun",
        f"{asked} Mars",
    )


def test_names_that_add_no_term_are_left_out() -> None:
    text = "Iron Sun. She. Kell. 27 March 1942."
    assert bridges("Who made the iron suns?", [evidence(text)], {}, "english") == (
        "Who made the iron suns? Kell",
    )


def test_evidence_without_names_is_taken_as_it_is() -> None:
    text = "東京は日本の首都"
    assert bridges("which?", [evidence(text)], {}, "none") == (f"which? {text}",)


def test_no_more_names_than_a_query_takes() -> None:
    text = ", ".join(f"Name{number}" for number in range(2 * MOST))
    (query,) = bridges("who?", [evidence(text)], {}, "english")
    assert query.split() == ["who?", *(f"Name{number}" for number in range(MOST))]


def test_without_evidence_the_names_of_the_question_are_searched_for() -> None:
    asked = "Which is older, Iron Sun or Red Moon?"
    assert bridges(asked, [], {}, "english") == ("Iron Sun", "Red Moon")
