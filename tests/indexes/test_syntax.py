"""Questions with operators: how they are read, and what is found, against filtering everything."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.cli.main import cli
from ragib.config import IndexConfig, RetrieverConfig, SparseConfig
from ragib.errors import InputError
from ragib.indexes.index import Index
from ragib.indexes.operators import operated
from ragib.indexes.syntax import Asked, parse
from ragib.types import Document

SPARSE = RetrieverConfig(using="sparse", k=50, syntax=True)
TEXTS = {
    "a": "The red fox jumps over the lazy dog.",
    "b": "A red-hot poker; the fox sleeps. Dogs bark.",
    "c": "Foxes are red.",
    "d": "To be, or not to be: that is the question of the fox.",
    "e": "RED FOX, red fox! And a cat.",
}


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("red fox", Asked("red fox", (), ())),
        ('"red fox" dog', Asked("red fox dog", ("red fox",), ())),
        ("“red fox”", Asked("red fox", ("red fox",), ())),
        ("+fox -dog  well-known", Asked("fox well-known", ("fox",), ("dog",))),
        ('-"lazy dog" fox^3', Asked("fox fox fox", (), ("lazy dog",))),
        ('+"red fox"^2', Asked("red fox red fox", ("red fox",), ())),
        ("a - b + c", Asked("a - b + c", (), ())),
    ],
)
def test_operators_are_read(question: str, expected: Asked) -> None:
    assert parse(question) == expected


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ('fox "red', "quotes come in pairs"),
        ('fox"red"', "quotes come in pairs"),
        ('"!?" fox', "no word in"),
        ("+!! fox", "no word in"),
        ("fox^1.5", "whole number from 1 to 99"),
        ("fox^0", "whole number"),
        ("x^y", "whole number"),
        ("fox -dog^2", "behind something that is wanted"),
        ("-dog", "nothing to search for"),
    ],
)
def test_what_cannot_be_read_is_named(question: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(question)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    documents = [Document(key, text, title="Old Bridge") for key, text in TEXTS.items()]
    config = IndexConfig(kinds=("sparse",))
    return Index.build(documents, tmp_path_factory.mktemp("index") / "idx", config)


def found(index: Index, question: str, config: RetrieverConfig = SPARSE) -> str:
    return "".join(sorted(hit.passage.doc_id for hit in index.retrieve([question], config)[0]))


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("fox", "abcde"),  # stemmed, as always
        ('"red fox"', "ae"),
        ('"red hot"', "b"),  # punctuation does not count, and neither does case
        ('"fox red"', "e"),
        ('"dog bark"', ""),  # a phrase is not stemmed
        ('"to be or not to be" fox', "d"),  # stop words count in a phrase
        ('"the fox"', "bd"),
        ("red +dog", "ab"),
        ("+dogs fox -lazy", "b"),
        ('fox -"red fox"', "bcd"),
        ("+the fox", "abd"),  # a word that the index leaves out is looked for in the text
        ("+red-hot fox", "b"),
        ('"old bridge" -cat', "abcd"),  # titles are part of it
        ("fox +zebra", ""),
        ("fox -zebra", "abcde"),
    ],
)
def test_operators_decide_what_is_found(index: Index, question: str, expected: str) -> None:
    assert found(index, question) == expected


def test_titles_that_are_not_indexed_hold_no_phrase(tmp_path: Path) -> None:
    documents = [Document("a", "a fox", title="Old Bridge"), Document("b", "fox, an old bridge")]
    config = IndexConfig(kinds=("sparse",), sparse=SparseConfig(title_boost=0))
    with Index.build(documents, tmp_path / "idx", config) as index:
        assert found(index, 'fox "old bridge"') == "b"
        assert found(index, 'fox -"old bridge"') == "a"


def test_an_index_elsewhere_has_no_operators() -> None:
    with pytest.raises(InputError, match="need an index directory"):
        next(operated(object(), ["fox"], None))


def test_plain_questions_have_no_operators(index: Index) -> None:
    plain = SPARSE.model_copy(update={"syntax": False})
    for question in ('the "red fox" -dog', "+red fox^2", 'fox "'):
        assert found(index, question, plain) == "abcde"


def test_a_boost_counts_a_term_again(index: Index) -> None:
    one, two = (index.retrieve([text], SPARSE)[0] for text in ("cat", "cat^2"))
    assert two[0].score == pytest.approx(2 * one[0].score)


def test_operators_come_before_the_cut_and_beside_filters(index: Index) -> None:
    first = SPARSE.model_copy(update={"k": 1})
    assert found(index, "red -cat -lazy -hot", first) == "c"
    hits = index.retrieve(["+fox"], SPARSE, where={"id": []})
    assert hits == [[]]
    asked = ['"red fox"', "+poker"]
    together = index.retrieve(asked, SPARSE)
    assert together == [index.retrieve([question], SPARSE)[0] for question in asked]


def test_the_command_line_reads_operators_when_told_to(index: Index) -> None:
    def ragib(question: str, *options: str) -> Result:
        arguments = ["search", str(index.path), question, "--using", "sparse", "--json", *options]
        return CliRunner().invoke(cli, arguments)

    plain = ragib('"red fox" -cat')
    assert len(json.loads(plain.stdout)["hits"]) == 5
    told = ragib('"red fox" -cat', "--syntax")
    assert [hit["passage"]["doc_id"] for hit in json.loads(told.stdout)["hits"]] == ["a"]
    wrong = ragib('fox "', "--syntax")
    assert wrong.exit_code == 2
    assert "quotes come in pairs" in wrong.stderr


WORDS = ("red", "fox", "the", "dog", "cats")
SENTENCE = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
PHRASE = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)


@settings(deadline=None, max_examples=25)
@given(
    texts=st.lists(SENTENCE, min_size=1, max_size=12),
    plain=st.sampled_from(WORDS[:2]),
    required=st.lists(PHRASE, max_size=2),
    excluded=st.lists(PHRASE, max_size=2),
    k=st.integers(1, 13),
)
def test_what_is_found_is_everything_filtered(
    texts: list[str],
    plain: str,
    required: list[str],
    excluded: list[str],
    k: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    def holds(text: str, phrase: str) -> bool:
        return f" {phrase} " in f" {text} "

    config = IndexConfig(kinds=("sparse",), sparse=SparseConfig(language="none"))
    documents = [Document(str(i), text) for i, text in enumerate(texts)]
    words = [plain, *(f'"{p}"' for p in required), *(f'-"{p}"' for p in excluded)]
    with Index.build(documents, tmp_path_factory.mktemp("index") / "idx", config) as index:
        hits = index.retrieve([" ".join(words)], SPARSE.model_copy(update={"k": k}))[0]
        everything = SPARSE.model_copy(update={"k": 50, "syntax": False})
        ranked = index.retrieve([" ".join([plain, *required])], everything)[0]
    left = [
        hit
        for hit in ranked
        if all(holds(hit.passage.text, phrase) for phrase in required)
        and not any(holds(hit.passage.text, phrase) for phrase in excluded)
    ]
    assert [hit.passage.id for hit in hits] == [hit.passage.id for hit in left[:k]]


def test_an_index_without_words_says_so(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    from ragib.config import EncoderConfig

    config = IndexConfig(
        kinds=("dense", "sparse"), encoder=EncoderConfig(model=str(tiny_encoder_dir))
    )
    documents = [Document(key, text) for key, text in TEXTS.items()]
    with Index.build(documents, tmp_path / "both", config) as index:
        hybrid = SPARSE.model_copy(update={"using": "hybrid"})
        assert found(index, 'cat "red fox"', hybrid) == "ae"
        assert found(index, '"fox poker"', hybrid) == ""
    dense = config.model_copy(update={"kinds": ("dense",)})
    with (
        Index.build(documents, tmp_path / "dense", dense) as index,
        pytest.raises(InputError, match="operators need a sparse index"),
    ):
        found(index, "fox", RetrieverConfig(using="dense", syntax=True))
