import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.adapters.common import Given, compression_of, compressor_of, finder_of, keep
from ragib.config import CompressorConfig, Config
from ragib.errors import ConfigError, InputError

WORDS = st.sampled_from(["king", "built", "a", "bridge.", "Moon", "is", "red!", "\n", "Ünï"])
TEXTS = st.lists(WORDS, max_size=30).map(" ".join)


@pytest.mark.parametrize(
    ("start", "end", "offset"),
    [(7, 12, 7), (0, 5, 0), (7, 13, 0), (-1, 4, 0), (None, None, 0), ("7", "12", 0), (7, None, 0)],
)
def test_a_place_is_believed_if_it_fits_the_text(start, end, offset):
    assert Given.told("hello", {"start": start, "end": end}).offset == offset


@given(before=TEXTS, inside=st.lists(TEXTS, max_size=4))
def test_evidence_is_verbatim_and_in_order_and_so_is_evidence_of_evidence(before, inside):
    document = before + "".join(inside)
    texts, start = [], len(before)
    for text in inside:
        texts.append(Given(text, start=start, end=start + len(text)))
        start += len(text)
    compressor = compressor_of(CompressorConfig(name="bm25-sentence", keep=0.7))
    kept = keep(compressor, "Which king built it?", texts)
    assert all(document[one.start : one.end] == one.text for one in kept)
    places = [(one.source, one.start) for one in kept]
    assert places == sorted(places)
    again = keep(compressor, "Which king?", [Given(k.text, "", k.start, k.end) for k in kept])
    assert all(document[one.start : one.end] == one.text for one in again)


def test_the_same_text_twice_is_kept_once_and_never_mixed_up():
    compressor = compressor_of(CompressorConfig(name="bm25-sentence", keep=1))
    same = Given("The king built a bridge.", start=5, end=29)
    kept = keep(compressor, "Which bridge?", [Given("It rained."), same, same])
    assert [(one.source, one.start, one.end) for one in kept] == [(0, 0, 10), (1, 5, 29)]


def test_a_title_that_is_no_text_is_none():
    assert keep(compressor_of("none"), "q", [Given("text", title=7)])[0].text == "text"
    assert keep(compressor_of("none"), "q", []) == []


@pytest.mark.parametrize("question", ["", " \n"])
def test_an_empty_question_is_refused(question):
    with pytest.raises(InputError, match="must not be empty"):
        keep(compressor_of("none"), question, [Given("text")])


def test_a_compressor_is_named_or_configured():
    section = CompressorConfig(name="truncate", keep=0.5)
    assert compression_of("truncate") == CompressorConfig(name="truncate")
    assert compression_of(section) is section
    assert compression_of(Config(compressor=section)) is section
    with pytest.raises(ConfigError, match="did you mean 'truncate'"):
        compressor_of("trunkate")


def test_groups_are_a_list(index):
    with pytest.raises(InputError, match="expected a list of group names"):
        finder_of(index, None, None, "court")


WITHOUT_FRAMEWORKS = """
import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
class Nothing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("langchain_core", "llama_index", "haystack"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing())
from ragib.errors import MissingExtraError
for name in ("langchain", "llamaindex", "haystack"):
    try:
        import_module(f"ragib.adapters.{name}")
    except MissingExtraError as error:
        print(error)
"""


def test_a_framework_that_is_missing_is_named_with_its_pip_line():
    """In a process of its own, where none can be found, installed or not."""
    code = [sys.executable, "-c", WITHOUT_FRAMEWORKS]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    packages = {"langchain": "langchain_core", "llamaindex": "llama_index", "haystack": "haystack"}
    for line, (name, package) in zip(done.stdout.splitlines(), packages.items(), strict=True):
        assert line.startswith(f"ragib.adapters.{name} needs the Python package '{package}'")
        assert line.endswith(f"pip install 'ragib[{name}]'")
