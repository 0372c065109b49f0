import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.errors import GenerationError
from ragib.generators.base import Generation, Quote
from ragib.generators.structured import ReplyParser, parser_for, read

ADA = {
    "abstained": False,
    "answer": " Ada Lovelace [2] ",
    "citations": [{"evidence": 1, "quote": " wrote it "}, {"evidence": 9, "quote": ""}],
}


def test_a_reply_becomes_a_generation():
    expected = Generation(
        "Ada Lovelace", (Quote(1), Quote(0, "wrote it"), Quote(8)), usage={"prompt_tokens": 3}
    )
    assert read(json.dumps(ADA), True, {"prompt_tokens": 3}) == expected
    assert read(json.dumps(dict(reversed(ADA.items())), indent=2), True, {}).text == expected.text


@pytest.mark.parametrize(
    "reply",
    [
        {**ADA, "abstained": True},
        {**ADA, "answer": " "},
        {**ADA, "answer": "The evidence does not answer the question."},
    ],
)
def test_abstaining_leaves_no_text_and_no_quotes(reply):
    assert read(json.dumps(reply), True, {}) == Generation("", abstained=True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *((text, "no whole JSON object") for text in ("", "Ada [1].", json.dumps(ADA)[:-1], "{")),
        (json.dumps(ADA) + "!", "no whole JSON object"),
        ('{"abstained": false, "answer": "\\ud83d", "citations": []}', "no whole JSON object"),
        *((text, "not of the shape") for text in ("null", "[]", "5", "{}")),
        (json.dumps({**ADA, "answer": None}), "answer: "),
        (json.dumps({**ADA, "abstained": "no"}), "abstained: "),
        (json.dumps({**ADA, "more": 1}), "more: "),
        (
            json.dumps({**ADA, "citations": [{"evidence": "1", "quote": ""}]}),
            "citations.0.evidence",
        ),
        (json.dumps({**ADA, "citations": [{"evidence": 1}]}), "citations.0.quote: "),
    ],
)
def test_garbage_is_an_error_that_shows_it(text, reason):
    got = read(text, True, {"completion_tokens": 4})
    assert got == Generation("", usage={"completion_tokens": 4}, error=got.error)
    assert reason in got.error
    assert got.error.endswith(text or "nothing at all")
    parser = parser_for(True)
    parser.feed(text)
    with pytest.raises(GenerationError):
        parser.finish()


@given(
    st.builds(
        lambda **reply: reply,
        abstained=st.booleans(),
        answer=st.text(st.sampled_from('a\u00e9\U0001f600 "\\\n[1]'), max_size=30),
        citations=st.lists(
            st.builds(lambda **one: one, evidence=st.integers(), quote=st.text(max_size=5)),
            max_size=2,
        ),
    ),
    st.booleans(),
    st.permutations(["abstained", "answer", "citations"]),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_pieces_join_to_the_answer_however_it_is_cut(reply, ascii_only, keys, cuts):
    text = json.dumps({key: reply[key] for key in keys}, ensure_ascii=ascii_only)
    parser = ReplyParser()
    ends = [*sorted(min(cut, len(text)) for cut in cuts), len(text)]
    starts = [0, *ends]
    shown = [parser.feed(text[a:b]) for a, b in zip(starts, ends, strict=False)]
    last, generation = parser.finish({"prompt_tokens": 1})
    assert generation == read(text, True, {"prompt_tokens": 1})
    assert "".join([*shown, last]) == generation.text
    assert not (reply["abstained"] and generation.text)


def test_the_answer_is_shown_while_it_is_written():
    parser = ReplyParser()
    assert parser.feed('{"abstained": false, "answer": "Ada Lo') == "Ada Lo"
    assert parser.feed('velace [1].", "cita') == "velace."
    held = ReplyParser()
    assert held.feed('{"answer": "Ada", ') == ""
    assert held.feed('"abstained": false, "citations": []}') == "Ada"


def test_a_second_answer_does_not_replace_one_that_was_shown():
    parser = ReplyParser()
    assert parser.feed('{"abstained": false, "answer": "Ada", ') == "Ada"
    parser.feed('"answer": "Bob", "citations": []}')
    with pytest.raises(GenerationError, match="two answers"):
        parser.finish()
