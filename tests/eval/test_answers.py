from __future__ import annotations

import pytest

from ragib.eval.answers import em_squad2, f1_squad2


@pytest.mark.parametrize(
    ("given", "right", "em", "f1"),
    [
        ("The Eiffel Tower!", ["Eiffel tower"], 1, 1),
        ("tower", ["Eiffel tower", "spire"], 0, 2 / 3),
        ("", [], 1, 1),
        ("a guess", [], 0, 0),
        ("", ["Paris"], 0, 0),
        ("red red", ["red dog"], 0, 0.5),
    ],
)
def test_squad2_measures(given: str, right: list[str], em: float, f1: float) -> None:
    assert em_squad2(given, right) == em
    assert f1_squad2(given, right) == pytest.approx(f1)
