"""Grid files: every combination once, under a name of its own; what is wrong is named."""

from itertools import product
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.config import Config
from ragib.errors import ConfigError
from ragib.eval.grid import parse_grid, read_grid

CONFIGS = Path(__file__).parents[2] / "configs"


def grid(**values: object):
    return parse_grid(yaml.safe_dump(values, sort_keys=False), "g.yaml")


def test_combinations_with_names_of_what_varies():
    found = grid(
        base={"retriever": {"k": 3}},
        grid={
            "retriever.using": ["dense", "sparse"],
            "compressor": [{"name": "none"}, {"name": "truncate", "keep": 0.2}],
            "generator.name": ["reader"],
        },
    )
    assert [p.name for p in found.pipelines] == [
        "dense none",
        "dense truncate keep=0.2",
        "sparse none",
        "sparse truncate keep=0.2",
    ]
    last = found.pipelines[-1]
    assert last.settings == {
        "retriever.using": "sparse",
        "compressor.name": "truncate",
        "compressor.keep": 0.2,
        "generator.name": "reader",
    }
    assert (last.config.retriever.k, last.config.compressor.keep) == (3, 0.2)
    assert (found.latency, found.noise, found.load, found.ladder) == (100, False, None, None)


def test_a_list_of_mappings_is_united_and_repeats_are_dropped():
    found = grid(
        grid=[
            {"retriever.using": ["dense", "sparse"]},
            {"retriever.using": ["multivector"], "index.multivector.pool_factor": [1, 2]},
            {"retriever.using": ["sparse"], "retriever.k": [5]},  # the default: there already
        ]
    )
    assert [p.name for p in found.pipelines] == [
        "dense",
        "sparse",
        "multivector pool_factor=1",
        "multivector pool_factor=2",
    ]


def test_names_that_would_be_alike_say_more():
    found = grid(grid={"compressor": [{"name": "a/w", "keep": 0.1}, {"name": "b/w", "keep": 0.1}]})
    assert [p.name for p in found.pipelines] == ["compressor.name=a/w", "compressor.name=b/w"]


KEYS = {
    "retriever.using": ["dense", "sparse", "hybrid"],
    "retriever.k": [1, 2, 5, 10],
    "index.multivector.pool_factor": [1.0, 2.0, 3.5],
    "compressor.keep": [None, 0.1, 0.5],
    "generator.seed": [0, 1],
}


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_against_a_slow_expansion(data):
    keys = data.draw(st.lists(st.sampled_from(list(KEYS)), min_size=1, unique=True))
    lists = {
        key: data.draw(st.lists(st.sampled_from(KEYS[key]), min_size=1, max_size=3)) for key in keys
    }
    found = grid(grid=lists)
    expected = []
    for values in product(*lists.values()):
        config = Config().model_dump()
        for key, value in zip(keys, values, strict=True):
            *path, last = key.split(".")
            node = config
            for part in path:
                node = node[part]
            node[last] = value
        if Config(**config) not in expected:
            expected.append(Config(**config))
    assert [p.config for p in found.pipelines] == expected
    assert len({p.name for p in found.pipelines}) == len(expected)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "grid: Field required"),
        ({"grid": {}}, "the grid is empty"),
        ({"grid": []}, "the grid is empty"),
        ({"grid": [{}]}, "the grid is empty"),
        ({"grid": {"retriever.k": []}}, "retriever.k: the list is empty"),
        ({"grid": {"retriever.k": 5}}, "retriever.k: expected a list of values (got 5)"),
        ({"grid": {"retriever.usin": ["dense"]}}, "unknown key 'retriever.usin'; did you mean"),
        ({"grid": {"retriver.k": [1]}}, "unknown key 'retriver'; did you mean 'retriever'?"),
        ({"grid": {"retriever.k": [0]}}, "retriever.k: "),
        ({"grid": {"retriever.k.x": [1]}, "base": {"retriever": {"k": 2}}}, "'k' is a value"),
        ({"grid": {"retriever.k": [1]}, "base": {"indx": {}}}, "base: unknown key 'indx'"),
        ({"grid": {"retriever.k": [1]}, "ladders": {}}, "unknown key 'ladders'; did you mean"),
        (
            {"grid": {"retriever.k": [1]}, "load": {"rates": [1], "secs": 2}},
            "unknown key 'load.secs'",
        ),
        ({"grid": {"retriever.k": [1]}, "load": {"rates": [-1]}}, "load.rates.0: "),
        (
            {"grid": {"retriever.k": [1]}, "load": {"rates": [1]}, "latency": 0},
            "load needs latency",
        ),
        ({"grid": {"retriever.k": [1]}, "ladder": {"sizes": [], "kinds": ["dense"]}}, "sizes"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(values, said):
    with pytest.raises(ConfigError) as caught:
        grid(**values)
    assert str(caught.value).startswith("g.yaml: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- 1", "grid: [", "7"])
def test_what_is_no_grid(text):
    with pytest.raises(ConfigError, match=r"g\.yaml: "):
        parse_grid(text, "g.yaml")


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_grid(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("name", "count"),
    [("grid.yaml", 32), ("grid-quick.yaml", 4), ("ladder.yaml", 1), ("rerank.yaml", 8)],
)
def test_shipped_grids(name, count):
    found = read_grid(CONFIGS / name)
    assert len({p.name for p in found.pipelines}) == len(found.pipelines) == count
