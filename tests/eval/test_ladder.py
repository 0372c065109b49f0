"""The ladder: every rung holds what is relevant, and is part of the next."""

import pytest

from ragib.config import parse_config
from ragib.errors import ConfigError
from ragib.eval import ladder
from ragib.eval.cache import Cache
from ragib.eval.evalset import EvalQuery, EvalSet
from ragib.eval.grid import LadderConfig
from ragib.eval.stages import Stages
from ragib.types import Document

pytest.importorskip("ir_measures")

BASE = parse_config({"index": {"kinds": ["sparse"]}}, "test")


def noise(number: int) -> Document:
    # The more of them there are, the more speak of the same thing as question 0.
    return Document(f"n{number}", f"the tower of rome tower rome {number}")


DOCUMENTS = [
    *(noise(n) for n in range(40)),
    Document("g0", "the tower of rome stands there to this day for all to see"),
    Document("g1", "a unicorn"),
]
QUERIES = (
    EvalQuery("q0", "tower rome", judged={"g0": 1, "n1": 0}),
    EvalQuery("q1", "unicorn", judged={"g1": 1}),
    EvalQuery("q2", "nobody judged me"),
)


@pytest.fixture
def data():
    return EvalSet("made", QUERIES, lambda: iter(DOCUMENTS))


def test_quality_falls_as_the_corpus_grows(data, tmp_path, monkeypatch):
    inside = []
    real = ladder.corpus_digest

    def digest(documents):
        listed = list(documents)
        inside.append({document.id for document in listed})
        return real(listed)

    monkeypatch.setattr(ladder, "corpus_digest", digest)
    plan = LadderConfig(sizes=(1, 10, 42, 1000), kinds=("sparse",), measure="RR@10")
    seen = []
    with Cache(tmp_path) as cache:
        rungs = ladder.climb(
            plan, BASE, data, Stages(cache), tmp_path, lambda *said: seen.append(said)
        )
    assert [len(names) for names in inside] == [2, 10, 42]
    assert all({"g0", "g1"} <= names for names in inside)
    assert inside[0] < inside[1] < inside[2]
    assert [rung.passages for rung in rungs] == [2, 10, 42]
    means = [rung.mean for rung in rungs]
    assert means == sorted(means, reverse=True)
    assert means[0] == 1 > means[-1]
    assert all(rung.low <= rung.mean <= rung.high for rung in rungs)
    sizes = [rung.index_bytes for rung in rungs]
    assert sizes == sorted(sizes)
    assert {rung.measure for rung in rungs} == {"RR@10"}


def test_a_slow_kind_stops_where_it_is_told(data, tmp_path, monkeypatch):
    def no_build(*asked):
        raise AssertionError(asked)

    kinds = {"kinds": ("sparse", "dense"), "most": {"dense": 1}}
    plan = LadderConfig(sizes=(10, 20), measure="RR@10", **kinds)
    monkeypatch.setattr("ragib.encoders.load_encoder", no_build)
    with Cache(tmp_path) as cache:
        rungs = ladder.climb(plan, BASE, data, Stages(cache), tmp_path, lambda *said: None)
    assert [(rung.kind, rung.passages) for rung in rungs] == [("sparse", 10), ("sparse", 20)]


def test_a_set_without_judgements(tmp_path):
    data = EvalSet("made", QUERIES[2:], lambda: iter(DOCUMENTS))
    plan = LadderConfig(sizes=(1,), kinds=("sparse",))
    with Cache(tmp_path) as cache, pytest.raises(ConfigError, match="made has no judgements"):
        ladder.climb(plan, BASE, data, Stages(cache), tmp_path, lambda *said: None)
