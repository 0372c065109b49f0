"""Run files are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragib.cli.trec import trec_run
from ragib.errors import InputError


def test_documents_are_ranked_by_score(tmp_path: Path) -> None:
    path = tmp_path / "out.trec"
    with trec_run(path, "mine") as write:
        write("q1", {"a": 0.25, "b": 2.5})
        write("q2", {})
    assert path.read_text() == "q1 Q0 b 1 2.5 mine\nq1 Q0 a 2 0.25 mine\n"


@pytest.mark.parametrize(
    ("query", "document", "tag"), [("q 1", "d", "t"), ("q", "d\t1", "t"), ("q", "", "t"),
                                   ("q", "d", "two words")]
)  # fmt: skip
def test_white_space_is_refused_and_the_old_run_stays(
    tmp_path: Path, query: str, document: str, tag: str
) -> None:
    path = tmp_path / "out.trec"
    path.write_text("old\n")
    with pytest.raises(InputError, match="white space"), trec_run(path, tag) as write:
        write("q0", {"fine": 1.0})
        write(query, {document: 1.0})
    assert path.read_text() == "old\n"
    assert [file.name for file in tmp_path.iterdir()] == ["out.trec"]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none" / "out.trec"
    with pytest.raises(InputError, match="cannot be written"), trec_run(path, "t"):
        pass
