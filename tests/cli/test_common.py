"""Output of the command line: bars for a terminal only, JSON of every value, safe text."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.cli.common import echo_json, printable, progress_bar
from ragib.types import Evidence, Hit, Passage


def _work() -> None:
    with progress_bar() as progress:
        progress("read", 5, None)
        progress("encode", 1, 4)
        progress("encode", 4, 4)


def test_no_bar_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    _work()
    assert capsys.readouterr() == ("", "")


def test_a_bar_a_stage_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    _work()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "read" in shown.err
    assert "encode" in shown.err
    assert "4/4" in shown.err


def test_json_of_values(capsys: pytest.CaptureFixture[str]) -> None:
    hit = Hit(Passage("d#0", "d", "Grüße, 世界"), 0.5, ranks={"dense": 1})
    evidence = Evidence("d#0", 0, 5, "Grüße", np.float32(0.25))
    echo_json({"hits": (hit,), "evidence": [evidence], "path": Path("a/b")})
    out = capsys.readouterr().out
    assert "世界" in out
    value = json.loads(out)
    assert value["hits"][0]["passage"]["doc_id"] == "d"
    assert value["hits"][0]["ranks"] == {"dense": 1}
    assert value["evidence"][0]["score"] == 0.25
    assert value["path"] == "a/b"


def test_json_refuses_what_it_does_not_know() -> None:
    with pytest.raises(TypeError, match="set is not JSON"):
        echo_json({"x": {1}})


@given(st.text())
def test_printable_text_is_one_line_without_control(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in shown)
    assert printable(shown) == shown


def test_printable_keeps_words() -> None:
    assert printable("  Grüße,\n\t世界 👍  ") == "Grüße, 世界 👍"
