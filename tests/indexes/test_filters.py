import pytest

from ragib.errors import InputError
from ragib.indexes.filters import compile_where

METADATA = {
    "year": 1999,
    "lang": "en",
    "tags": ["red", "blue"],
    "draft": False,
    "source": {"kind": "web", "page": {"n": 3}},
    "a.b": "dotted",
    "nothing": None,
    "empty": [],
}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, False),
        ({"year": 1999}, True),
        ({"year": 1999.0}, True),
        ({"year": "1999"}, False),
        ({"year": [1998, 1999]}, True),
        ({"year": []}, False),
        ({"year": {}}, False),
        ({"year": {"gte": 1999, "lt": 2000}}, True),
        ({"year": {"gt": 1999}}, False),
        ({"year": {"lte": 1998}}, False),
        ({"year": {"gte": "1"}}, False),
        ({"lang": {"gte": "e", "lte": "f"}}, True),
        ({"lang": "en", "year": 2000}, False),
        ({"tags": "red"}, True),
        ({"tags": ["green", "blue"]}, True),
        ({"tags": {"ne": "red"}}, False),
        ({"tags": {"ne": "green"}}, True),
        ({"draft": False}, True),
        ({"draft": 0}, False),
        ({"draft": {"exists": True}}, True),
        ({"gone": {"exists": False}}, True),
        ({"gone": {"ne": 1}}, True),
        ({"gone": None}, False),
        ({"nothing": None}, True),
        ({"nothing": {"exists": True}}, True),
        ({"empty": "x"}, False),
        ({"source.kind": "web"}, True),
        ({"source.page.n": {"gt": 2}}, True),
        ({"source.page.m": 3}, False),
        ({"source.kind.x": "web"}, False),
        ({"a.b": "dotted"}, True),
    ],
)
def test_meaning(where, expected):
    assert compile_where(where)(METADATA) is expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("year=3", "keys and values"),
        ({"": 1}, "name of a metadata key"),
        ({3: 1}, "name of a metadata key"),
        ({"year": {"gt": None}}, "number or a string"),
        ({"year": {"gt": True}}, "number or a string"),
        ({"year": {"exists": 1}}, "true or false"),
        ({"year": {"equals": 1}}, "unknown operator"),
        ({"year": {"gtee": 1}}, "did you mean 'gte'"),
        ({"year": [[1]]}, "expected a string"),
        ({"year": {"ne": [1]}}, "expected a string"),
    ],
)
def test_mistakes(where, message):
    with pytest.raises(InputError, match=message):
        compile_where(where)
