"""Filters as a command line writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.cli.where import parse_where
from ragib.errors import InputError


@pytest.mark.parametrize(
    ("conditions", "where"),
    [
        ([], None),
        (["lang=en"], {"lang": ["en"]}),
        (["lang=en", "lang=de"], {"lang": ["en", "de"]}),
        (["year=1999"], {"year": [1999, "1999"]}),
        (["draft=true"], {"draft": [True, "true"]}),
        (["year>=1990", "year<2000"], {"year": {"gte": 1990, "lt": 2000}}),
        (["year<=1990"], {"year": {"lte": 1990}}),
        (["year>1990"], {"year": {"gt": 1990}}),
        (["draft!=true"], {"draft": {"ne": True}}),
        (["a.b=c=d"], {"a.b": ["c=d"]}),
        (["day=2020-01-31"], {"day": ["2020-01-31"]}),
        (["tags=[a, b]"], {"tags": ["[a, b]"]}),
        (["x=: ["], {"x": [": ["]}),
        (["x=null"], {"x": [None, "null"]}),
        (["x="], {"x": [""]}),
    ],
)
def test_conditions(conditions: list[str], where: object) -> None:
    assert parse_where(conditions) == where


@pytest.mark.parametrize(
    "conditions", [["lang"], ["=en"], [""], ["y>=1", "y=2"], ["y=2", "y>=1"], ["y>1", "y>2"]]
)
def test_what_cannot_be_read_is_named(conditions: list[str]) -> None:
    with pytest.raises(InputError, match="--where"):
        parse_where(conditions)


@given(st.lists(st.text(max_size=12), max_size=3))
def test_any_text_is_a_filter_or_an_input_error(conditions: list[str]) -> None:
    try:
        where = parse_where(conditions)
    except InputError:
        return
    assert (where is None) == (not conditions)
