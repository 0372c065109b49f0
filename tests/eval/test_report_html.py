"""Nothing that is put into a page as text can be anything else there."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.eval.report.html import Html, clean, columns, embedded, join, shortened, tag
from tests.eval.synthetic_run import HOSTILE

TEXT = st.text(
    st.characters() | st.sampled_from("<>&\"'\x00\x1b\u2028\ud800-!/]")
) | st.sampled_from(HOSTILE)


class Seen(HTMLParser):
    """What a reader of the markup finds: elements with their attributes, and text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@given(TEXT, TEXT)
def test_any_text_comes_out_as_text(text, attribute):
    seen = Seen(tag("p", text, title=attribute))
    assert seen.elements == [("p", {"title": clean(attribute)})]
    assert seen.text == clean(text)


@given(TEXT)
def test_a_cleaned_text_can_be_written_and_keeps_its_offsets(text):
    cleaned = clean(text)
    assert len(cleaned) == len(text)
    cleaned.encode()
    assert not any((ord(c) < 32 and c not in "\t\n") or 0x7F <= ord(c) < 0xA0 for c in cleaned)
    assert all(a == b for a, b in zip(text, cleaned, strict=True) if a.isalnum() or a in " \n<&")


@given(
    st.recursive(TEXT | st.integers() | st.none(), lambda v: st.lists(v) | st.dictionaries(TEXT, v))
)
def test_any_value_survives_in_a_script(value):
    markup = embedded(value, id="data")
    start, end = '<script type="application/json" id="data">', "</script>"
    assert markup.startswith(start)
    assert markup.endswith(end)
    content = markup[len(start) : -len(end)]
    assert content.isascii()
    assert not set(content) & set("<>&")
    assert json.loads(content) == value


def test_numbers_names_and_nothing():
    made = tag(
        "td", 3, None, ["a", ["<b>"], Html("<br>")], data_v=1.239, class_="x", hidden=True, id=None
    )
    assert made == '<td data-v="1.24" class="x" hidden>3a&lt;b&gt;<br></td>'
    assert tag("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert isinstance(join("a"), Html)


def test_a_script_refuses_what_is_not_json():
    with pytest.raises(ValueError, match="JSON"):
        embedded([float("nan")])


@given(TEXT, st.integers(2, 40))
def test_a_shortened_text_fits_and_keeps_both_ends(text, width):
    cut = shortened(text, width)
    assert columns(cut) <= width
    if columns(text) <= width:
        assert cut == text
    else:
        head, _, tail = cut.partition("…") if "…" not in text else (cut[:1], "", "")
        assert text.startswith(head)
        assert text.endswith(tail)
