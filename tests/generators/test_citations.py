import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ragib.generators.base import Generation, Quote
from ragib.generators.citations import MarkerParser, parse, verify
from ragib.generators.prompt import NO_ANSWER
from ragib.types import Evidence, Passage

TEXT = 'Ada wrote the first program.\n\nShe said "it can\'t think" in 1843.'
PASSAGE = Passage("p", "doc", TEXT, start=100, end=100 + len(TEXT))
EVIDENCE = (Evidence("p", 0, 28, TEXT[:28], 0.9), Evidence("p", 30, len(TEXT), TEXT[30:], 0.4))
PASSAGES = {"p": PASSAGE}

fragments = st.sampled_from(
    [
        *("[1]", "[2]", "[7]", "[0]", "[1, 2]", '[1: "wrote the first"]', '[2: "she"]'),
        *("[1: \u201cAda\u201d]", "[", "]", '"', "1", ":", ",", " ", "\n", "Rome", "argv[0]"),
        *('[1: "', "[12", NO_ANSWER, "The evidence", " does not", "é", "\u2028", "\ud800"),
        "[" + "9" * 40 + "]",
    ]
)
emitted = st.one_of(st.text(), st.lists(st.one_of(fragments, st.text(max_size=4))).map("".join))


def show(pieces):
    parser = MarkerParser()
    shown = [parser.feed(piece) for piece in pieces]
    last, generation = parser.finish()
    return [*shown, last], generation


def test_markers_become_quotes_and_leave_the_text():
    got = parse('Ada Lovelace [1: "Ada wrote"], in 1843 [2, 1].')
    assert got.text == "Ada Lovelace, in 1843."
    assert got.quotes == (Quote(0, "Ada wrote"), Quote(1), Quote(0))
    assert not got.abstained


def test_what_is_no_marker_stays():
    text = "Use argv[] or [see: this] or [1843] or [1:2]"
    assert parse(text) == Generation(text)


def test_a_refusal_or_nothing_is_abstention():
    for text in (NO_ANSWER, NO_ANSWER.upper() + " Sorry [1].", f"  {NO_ANSWER[:-1]}", "", " [1] "):
        assert parse(text) == Generation("", abstained=True), text
    assert parse("The evidence").text == "The evidence"
    assert parse("The evidence does not say, but Rome.").text.endswith("but Rome.")


def test_nothing_of_a_refusal_is_shown():
    shown, generation = show(["The evi", "dence does ", "not answer the question", "."])
    assert "".join(shown) == generation.text == ""


def test_streaming_does_not_wait_for_the_end():
    parser = MarkerParser()
    assert parser.feed("Rome is") == "Rome is"
    assert parser.feed(" old [") == " old"
    assert parser.feed('1: "so') == ""
    assert parser.feed('"]. Very') == ". Very"


@given(emitted, st.lists(st.integers(0, 60)))
def test_pieces_join_to_the_text_of_the_whole(text, cuts):
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in pairwise(places)]
    shown, generation = show(pieces)
    assert "".join(shown) == generation.text
    assert generation == parse(text)


@given(emitted)
def test_text_without_markers_is_kept_and_never_invented(text):
    got = parse(text)
    assert got.text == got.text.strip()
    assert not re.search(r"\[\d{1,3}\]", got.text) or "[" in re.sub(r"\[\d{1,3}\]", "", text)
    if "[" not in text and not got.abstained:
        assert got.text == text.strip()
    rest = iter(text)
    assert all(letter in rest for letter in got.text)  # a subsequence of what was emitted


@given(emitted)
def test_every_citation_is_verbatim_and_every_failure_flagged(text):
    generation = parse(text)
    citations, flags = verify(generation, EVIDENCE, PASSAGES)
    for citation in citations:
        start, end = citation.start - PASSAGE.start, citation.end - PASSAGE.start
        assert 0 <= start < end <= len(TEXT)
        assert TEXT[start:end] == citation.text
    if any(quote.evidence not in (0, 1) for quote in generation.quotes):
        assert flags == ("unverified-citation",)
    assert generation.quotes or not (citations or flags)


def cite(quote):
    return verify(Generation("x", (quote,)), EVIDENCE, PASSAGES)


def test_a_number_cites_the_whole_evidence_in_the_document():
    (citation,), flags = cite(Quote(1))
    assert (citation.doc_id, citation.passage_id) == ("doc", "p")
    assert (citation.start, citation.end, citation.text) == (130, 100 + len(TEXT), TEXT[30:])
    assert flags == ()


def test_a_quote_narrows_it():
    (citation,), flags = cite(Quote(0, "the  first\nprogram"))
    assert (citation.start, citation.end, citation.text) == (110, 127, "the first program")
    assert flags == ()


def test_quotation_marks_may_differ_but_the_citation_is_the_source():
    (citation,), flags = cite(Quote(1, "said \u201cit can\u2019t think\u201d"))
    assert citation.text == 'said "it can\'t think"'
    assert flags == ()


def test_invented_words_other_evidence_and_unknown_numbers_are_flagged():
    for quote in (Quote(0, "Ada built"), Quote(0, "in 1843"), Quote(2), Quote(-1), Quote(998)):
        assert cite(quote) == ((), ("unverified-citation",)), quote


def test_evidence_that_is_not_in_its_passage_is_never_cited():
    forged = (Evidence("p", 0, 5, "Eve w", 1.0), Evidence("gone", 0, 3, "Ada", 1.0))
    got = verify(Generation("x", (Quote(0), Quote(1))), forged, PASSAGES)
    assert got == ((), ("unverified-citation",))


def test_a_bad_citation_costs_no_good_one_and_repeats_are_dropped():
    generation = Generation("x", (Quote(0), Quote(5), Quote(0), Quote(0, "Ada")))
    citations, flags = verify(generation, EVIDENCE, PASSAGES)
    assert [citation.text for citation in citations] == [TEXT[:28], "Ada"]
    assert flags == ("unverified-citation",)
