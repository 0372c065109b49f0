"""Filters mean the same as conditions of Qdrant as they do here, whatever the metadata."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client.local.payload_filters import check_filter

from ragib.errors import InputError
from ragib.indexes.filters import compile_where
from ragib.indexes.qdrant.facts import PREFIX, asked_of, gather, payload, reachable
from ragib.indexes.qdrant.filter import Allowed, allowed

KEYS = st.sampled_from(["a", "b", "a.b", "b.a", "", ".", "a.", 'k "x"[0]', "ключ"])
NUMBERS = st.sampled_from([0, -0.0, 1, 1.0, 1.5, -2, 3, 10**9, 2**53, 1e300])
STRINGS = st.sampled_from(["", "a", "b", "ab", "1", "true", "null", "é", "𝄞", "a" * 300, "[]"])
SCALARS = st.none() | st.booleans() | NUMBERS | STRINGS
VALUES = st.recursive(
    SCALARS,
    lambda node: st.lists(node, max_size=3) | st.dictionaries(KEYS, node, max_size=2),
    max_leaves=5,
)
METADATA = st.dictionaries(KEYS, VALUES, max_size=4)
OPERATORS = st.dictionaries(
    st.sampled_from(["gte", "gt", "lte", "lt"]), NUMBERS | STRINGS | st.just(float("inf"))
) | st.fixed_dictionaries({}, optional={"ne": SCALARS, "exists": st.booleans()})
WHERE = st.dictionaries(
    KEYS.filter(bool), SCALARS | st.lists(SCALARS, max_size=3) | OPERATORS, max_size=2
)
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def compiled(where: Any, documents: list[dict[str, Any]], **options: Any) -> Allowed:
    numbers, ranks = gather(documents)
    strings = {key: list(texts) for key, texts in ranks.items()}
    head = SimpleNamespace(
        numbers=numbers,
        strings=strings,
        manifest=SimpleNamespace(restricted=options.pop("restricted", False)),
    )

    def places(key: str, text: str) -> tuple[int, int]:
        text = text[:PREFIX]
        return bisect_left(strings[key], text), bisect_right(strings[key], text)

    return allowed(where, options.get("allow", ("public",)), head, places)  # type: ignore[arg-type]


def meets(found: Allowed, kept: dict[str, Any]) -> bool:
    if found.nothing or found.condition is None:
        return not found.nothing
    return check_filter(found.condition, kept, 1, {})


@SLOW
@given(documents=st.lists(METADATA, min_size=1, max_size=4), where=WHERE)
def test_same_meaning_as_here(documents: list[dict[str, Any]], where: dict[str, Any]) -> None:
    found = compiled(where, documents)
    numbers, ranks = gather(documents)
    matches = compile_where(where)
    for metadata in documents:
        assert meets(found, payload(asked_of(metadata), numbers, ranks)) is matches(metadata)


@SLOW
@given(METADATA)
def test_reachable_is_what_a_filter_reaches(metadata: dict[str, Any]) -> None:
    exists = {"exists": True}
    for key in reachable(metadata):
        assert not key or compile_where({key: exists})(metadata)
    for key in ("a", "b", "a.b", "b.a", "a.b.a", "a.", "..", "a.a", "a..b"):
        assert compile_where({key: exists})(metadata) is (key in reachable(metadata))


def test_long_values_are_hashed_and_still_told_apart() -> None:
    long = ["x" * 500 + "1", "x" * 500 + "2"]
    asked = asked_of({"text": long[0]})
    assert all(len(fact) <= 120 for fact in asked.facts)
    numbers, ranks = gather([{"text": long[0]}])
    kept = payload(asked, numbers, ranks)
    for text, expected in zip(long, (True, False), strict=True):
        assert meets(compiled({"text": text}, [{"text": long[0]}]), kept) is expected


def test_integers_too_large_for_a_double_are_equal_only_to_themselves() -> None:
    documents = [{"n": 2**70}, {"n": 10**400}, {"n": -(10**400)}]
    numbers, ranks = gather(documents)
    for metadata in documents:
        kept = payload(asked_of(metadata), numbers, ranks)
        assert meets(compiled(metadata, documents), kept)
        assert not meets(compiled({"n": metadata["n"] + 1}, documents), kept)
        for where in ({"n": {"gt": 0}}, {"n": {"lt": 0}}):
            assert meets(compiled(where, documents), kept) is compile_where(where)(metadata)


def test_nan_meets_nothing_but_ne() -> None:
    nan = float("nan")
    documents = [{"n": 1}]
    kept = payload(asked_of(documents[0]), *gather(documents))
    for where in ({"n": nan}, {"n": {"gt": nan}}, {"n": {"lte": nan}}, {"n": {"ne": nan}}):
        expected = compile_where(where)(documents[0])
        assert meets(compiled(where, documents), kept) is expected


@pytest.mark.parametrize(
    ("allow", "restricted", "seen"),
    [
        (("public",), False, {"open", "staff", "both", "nobody"}),
        (("public",), True, {"open", "both"}),
        (("staff",), True, {"staff", "both"}),
        (("staff",), False, {"staff", "both"}),
        (("half \ud800",), True, set()),
        ((), False, set()),
    ],
)
def test_groups(allow: tuple[str, ...], restricted: bool, seen: set[str]) -> None:
    access = {"open": ["public"], "staff": ["staff"], "both": ["public", "staff"], "nobody": []}
    found = compiled(None, [], allow=allow, restricted=restricted)
    assert {name for name, groups in access.items() if meets(found, {"access": groups})} == seen


@pytest.mark.parametrize("allow", ["public", (1,)])
def test_groups_must_be_a_list_of_names(allow: Any) -> None:
    with pytest.raises(InputError, match="list of group names"):
        compiled(None, [], allow=allow)


def test_an_empty_filter_selects_nothing() -> None:
    for where in ({}, {"a": []}, {"a": {}}, {"a": 1, "b": []}):
        assert compiled(where, [{"a": 1}]).nothing
    assert not compiled(None, [{"a": 1}]).nothing
