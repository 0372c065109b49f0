import json
from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np
import pytest
import Stemmer
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.config import SparseConfig
from ragib.errors import ConfigError
from ragib.indexes.base import Batch, Mask, Queries, TopK
from ragib.indexes.lists import TermLists, as_they_are
from ragib.indexes.listscorer import ListScorer
from ragib.indexes.postings import read_postings, write_postings
from ragib.indexes.scoring import CsrScorer, QueryTerms
from ragib.indexes.sparse import SparseEngine, SparseSearcher
from ragib.indexes.terms import _CODES, _STOP_WORDS, terms
from ragib.types import Passage
from tests.oracle.bm25 import bm25

WORDS = ("aa", "bb", "cc", "dd", "ee")
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=12), min_size=1, max_size=14)
QUERY = st.lists(st.sampled_from((*WORDS, "unknown")), max_size=5)
ENGINES = ("bm25s", "rank-bm25")


def build(
    engine: SparseEngine, texts: Sequence[str], root: Path, name: str, size: int = 4
) -> list[Path]:
    parts = []
    for start in range(0, len(texts), size):
        out = root / f"{name}-{start}"
        out.mkdir(parents=True)
        passages = [
            Passage(f"p{start + i}", "d", text)
            for i, text in enumerate(texts[start : start + size])
        ]
        engine.encode(Batch(passages), out)
        parts.append(out)
    return parts


def expect(scores: Sequence[float], k: int, allowed: Sequence[bool]) -> TopK:
    best = sorted((-s, i) for i, s in enumerate(scores) if s > 0 and allowed[i])[:k]
    pad = k - len(best)
    return TopK(
        np.array([[i for _, i in best] + [-1] * pad]),
        np.array([[-s for s, _ in best] + [-np.inf] * pad], np.float32),
    )


def assert_same(found: TopK, expected: TopK) -> None:
    # Scores may differ by rounding, and rows with them only where scores are that close.
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
    for row in range(len(found.rows)):
        for i, other in enumerate(found.rows[row]):
            if other == expected.rows[row, i]:
                continue
            near = np.isclose(expected.scores[row], found.scores[row, i], rtol=1e-5)
            assert near.sum() > 1 or near[-1], (found, expected)


@settings(deadline=None, max_examples=60)
@given(
    corpus=TEXTS,
    query=QUERY,
    engine=st.sampled_from(ENGINES),
    k1=st.sampled_from([0.0, 0.9, 1.5]),
    b=st.sampled_from([0.0, 0.4, 1.0]),
    data=st.data(),
)
def test_scores_are_those_of_the_formula_over_live_rows(
    corpus: list[list[str]],
    query: list[str],
    engine: str,
    k1: float,
    b: float,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("sparse")
    count = len(corpus)
    flags = st.lists(st.booleans(), min_size=count, max_size=count)
    alive, allowed = np.array(data.draw(flags)), np.array(data.draw(flags))
    sparse = SparseEngine(SparseConfig(engine=engine, k1=k1, b=b, language="none"))
    parts = build(sparse, [" ".join(words) for words in corpus], root, "part")
    live = [words for words, flag in zip(corpus, alive, strict=True) if flag]
    variant, factor = ("lucene", 1.0) if engine == "bm25s" else ("robertson", k1 + 1)
    scores = np.zeros(count)
    if any(live):
        scores[alive] = factor * np.array(bm25(query, live, k1, b, variant))
    found = sparse.open(parts, alive).search(Queries([" ".join(query)]), 5, allowed)
    assert_same(found, expect(scores, 5, allowed))


@settings(deadline=None, max_examples=40)
@given(corpus=TEXTS, query=QUERY, data=st.data())
def test_adding_and_deleting_gives_what_a_fresh_build_gives(
    corpus: list[list[str]],
    query: list[str],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("sparse")
    count = len(corpus)
    alive = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    texts = [" ".join(words) for words in corpus]
    engine = SparseEngine(SparseConfig(language="none"))
    asked = Queries([" ".join(query), "aa bb"])

    parts = build(engine, texts, root, "part", size=3)
    grown = engine.open(parts, alive).search(asked, 20, None)

    merged = root / "merged"
    merged.mkdir()
    engine.merge(parts, [alive[i : i + 3] for i in range(0, count, 3)], merged)
    compacted = engine.open([merged], np.ones(int(alive.sum()), bool)).search(asked, 20, None)

    live = [text for text, flag in zip(texts, alive, strict=True) if flag]
    fresh_parts = build(engine, live, root, "fresh", size=100)
    fresh = engine.open(fresh_parts, np.ones(len(live), bool)).search(asked, 20, None)

    number = np.append(np.flatnonzero(alive), -1)
    np.testing.assert_array_equal(grown.scores, fresh.scores)
    np.testing.assert_array_equal(grown.rows, number[fresh.rows])
    np.testing.assert_array_equal(compacted.scores, fresh.scores)
    np.testing.assert_array_equal(compacted.rows, fresh.rows)
    if len(live):
        for name in ("terms.json", "indptr.npy", "rows.npy", "values.npy", "lengths.npy"):
            assert (merged / name).read_bytes() == (fresh_parts[0] / name).read_bytes()


@settings(deadline=None, max_examples=30)
@given(corpus=TEXTS, query=QUERY)
def test_parity_with_the_bm25s_library(
    corpus: list[list[str]], query: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("sparse")
    known = [word for word in query if any(word in words for words in corpus)]
    if not known:
        return
    texts = [" ".join(words) for words in corpus]
    everything = np.ones(len(corpus), bool)
    for engine, method, factor in (("bm25s", "lucene", 1.0), ("rank-bm25", "robertson", 1.9)):
        library = bm25s.BM25(k1=0.9, b=0.4, method=method)
        library.index(corpus, show_progress=False)
        expected = factor * library.get_scores(known)
        sparse = SparseEngine(SparseConfig(engine=engine, language="none"))
        searcher = sparse.open(build(sparse, texts, root, engine), everything)
        found = searcher.search(Queries([" ".join(query)]), len(corpus), None)
        assert_same(found, expect(expected, len(corpus), everything))


def small(tmp_path: Path, **settings: object) -> tuple[SparseEngine, SparseSearcher]:
    engine = SparseEngine(SparseConfig(**settings))
    texts = ["The cats sat on 2 mats", "A dog; a cat!", "dogs dogs dogs", "", "Über Größe"]
    return engine, engine.open(build(engine, texts, tmp_path, "small"), np.ones(5, bool))


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_to_match_gives_nothing(tmp_path: Path, engine: str) -> None:
    _, searcher = small(tmp_path, engine=engine)
    found = searcher.search(Queries(["", "the", "zebra", "!?"]), 3, None)
    assert (found.rows == -1).all()
    assert (found.scores == -np.inf).all()
    assert searcher.search(Queries([]), 3, None).rows.shape == (0, 3)
    nowhere: Mask = np.zeros(5, bool)
    assert (searcher.search(Queries(["cat"]), 3, nowhere).rows == -1).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_empty_index_gives_nothing(tmp_path: Path, engine: str) -> None:
    sparse = SparseEngine(SparseConfig(engine=engine))
    out = tmp_path / "out"
    out.mkdir()
    sparse.merge([], [], out)
    (dead,) = build(sparse, ["cat"], tmp_path, "dead")
    for segments, alive in (([], []), ([out], []), ([out, dead], [False])):
        found = sparse.open(segments, np.array(alive, bool)).search(Queries(["cat"]), 2, None)
        assert found.rows.tolist() == [[-1, -1]]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("k1", "b"), [(0.0, 0.4), (0.9, 1.0)])
def test_parameters_at_their_bounds(tmp_path: Path, engine: str, k1: float, b: float) -> None:
    # Four empty passages keep the idf of "robertson" above 0; a row without "aa" keeps "bb".
    sparse = SparseEngine(SparseConfig(engine=engine, k1=k1, b=b, language="none"))
    parts = build(sparse, ["aa", "bb", "", "", "", ""], tmp_path, "bounds")
    found = sparse.open(parts, np.ones(6, bool)).search(Queries(["aa bb"]), 3, None)
    assert found.rows.tolist() == [[0, 1, -1]]


def test_words_are_stemmed_and_digits_kept(tmp_path: Path) -> None:
    _, searcher = small(tmp_path)
    found = searcher.search(Queries(["cat", "dog", "2", "größe", "sat sat cats"]), 2, None)
    assert found.rows.tolist() == [[1, 0], [2, 1], [0, -1], [4, -1], [0, 1]]


def test_a_repeated_query_term_counts_again(tmp_path: Path) -> None:
    _, searcher = small(tmp_path)
    found = searcher.search(Queries(["cat", "cat cat"]), 1, None)
    assert found.scores[1, 0] == pytest.approx(2 * found.scores[0, 0])


def test_the_title_is_indexed(tmp_path: Path) -> None:
    engine = SparseEngine(SparseConfig())
    engine.encode(Batch([Passage("a", "d", "text"), Passage("b", "d", "text", "Zebra")]), tmp_path)
    found = engine.open([tmp_path], np.ones(2, bool)).search(Queries(["zebras"]), 2, None)
    assert found.rows.tolist() == [[1, -1]]


def test_terms_by_language() -> None:
    assert terms("The Houses of 3 trees, x y", "english") == ["hous", "3", "tree"]
    assert terms("Die Häuser und der Baum", "german") == ["haus", "baum"]
    assert terms("The Houses", "none") == ["the", "houses"]
    # Finnish has a stemmer and no list of stop words.
    assert terms("ja talossa", "finnish") == ["ja", "talo"]


def test_an_unknown_language_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'english'"):
        SparseEngine(SparseConfig(language="engish"))


def test_a_lone_surrogate_survives(tmp_path: Path) -> None:
    engine = SparseEngine(SparseConfig(language="none"))
    parts = build(engine, ["ab\ud800cd plain"], tmp_path, "odd")
    assert json.loads((parts[0] / "terms.json").read_text()) == ["ab", "cd", "plain"]


def test_scorers_agree_on_learned_weights(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    dense = rng.random((40, 12), np.float32) * (rng.random((40, 12)) < 0.4)
    bags = [{f"{j:02}": float(row[j]) for j in np.flatnonzero(row)} for row in dense]
    write_postings(bags, [len(bag) for bag in bags], np.float32, tmp_path)
    postings = read_postings(tmp_path)
    asked = rng.random((37, 12), np.float32) * (rng.random((37, 12)) < 0.5)
    queries = [
        QueryTerms(np.flatnonzero(row).astype(np.int32), row[np.flatnonzero(row)]) for row in asked
    ]
    allowed = rng.random(40) < 0.5
    for mask in (None, allowed, np.zeros(40, bool)):
        scores = asked @ dense.T
        flags = np.ones(40, bool) if mask is None else mask
        lists = ListScorer(TermLists([postings], np.ones(40, bool), as_they_are))
        bags = [
            {postings.terms[term]: float(weight) for term, weight in zip(*query, strict=True)}
            for query in ((query.ids, query.weights) for query in queries)
        ]
        for found in (
            lists(bags, 50, mask),
            CsrScorer(postings, postings.values, 40, "cpu")(queries, 50, mask),
        ):
            for i in range(len(queries)):
                line = TopK(found.rows[i : i + 1], found.scores[i : i + 1])
                assert_same(line, expect(scores[i].tolist(), 50, flags))


def test_describe_holds_what_scores_depend_on() -> None:
    described = SparseEngine(SparseConfig()).describe()
    assert described["k1"] == 0.9
    assert described["language"] == "english"
    assert "word2" in described["terms"]


def test_counts_beyond_16_bits_saturate(tmp_path: Path) -> None:
    engine = SparseEngine(SparseConfig(language="none"))
    parts = build(engine, ["aa " * 70_000, "aa"], tmp_path, "long")
    found = engine.open(parts, np.ones(2, bool)).search(Queries(["aa"]), 2, None)
    assert found.rows.tolist() == [[0, 1]]


@pytest.mark.parametrize("boost", [0, 1, 3])
def test_a_title_counts_as_often_as_it_is_boosted(tmp_path: Path, boost: int) -> None:
    engine = SparseEngine(SparseConfig(title_boost=boost, language="none"))
    passages = [Passage("a", "d", "red cat", "iron"), Passage("b", "d", "iron cat")]
    engine.encode(Batch(passages), tmp_path)
    found = engine.open([tmp_path], np.ones(2, bool)).search(Queries(["iron"]), 2, None)
    corpus = [["iron"] * boost + ["red", "cat"], ["iron", "cat"]]
    assert_same(found, expect(bm25(["iron"], corpus, 0.9, 0.4), 2, [True, True]))
    assert engine.describe().get("title_boost", 1) == boost


def test_a_learned_engine_has_no_title_boost() -> None:
    with pytest.raises(ConfigError, match="title_boost=2 is for BM25"):
        SparseEngine(SparseConfig(engine="learned", model="any", title_boost=2))


@pytest.mark.parametrize(("code", "language"), [("en", "english"), ("de", "german")])
def test_a_language_has_a_code(code: str, language: str) -> None:
    text = "The Houses Die Häuser und der Baum"
    assert terms(text, code) == terms(text, language)
    assert terms(text, code) != terms(text, "none")


def test_every_language_with_stop_words_has_a_stemmer_and_a_code() -> None:
    assert set(_STOP_WORDS) <= set(Stemmer.algorithms()) & set(_CODES.values())
    assert len(set(_CODES.values())) == len(_CODES)
    for language in _STOP_WORDS:
        assert terms("zzz 7", language)[-1] == "7"
