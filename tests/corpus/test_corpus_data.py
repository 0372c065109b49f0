"""The real sets, where they are at hand."""

from __future__ import annotations

from itertools import islice

import pytest
from corpus_files import shared_data

from ragib.config import ChunkConfig
from ragib.corpus import BadRecords, chunk, read_corpus, word_tokens
from ragib.errors import CorpusError

SIZES = {
    "cisi": (1460, 0),
    "cranfield": (1398, 2),  # documents 471 and 995 are empty
    "limit-small": (46, 0),
    "nfcorpus": (3633, 0),
    "scifact": (5183, 0),
    "squadshifts-wiki": (1581, 0),
    "vaswani": (11429, 0),
}


@pytest.mark.parametrize("name", SIZES)
def test_retrieval_sets(name: str) -> None:
    folder = shared_data(f"ir/{name}")
    bad = BadRecords()
    config = ChunkConfig()
    count = 0
    for document in read_corpus(folder, bad=bad):
        count += 1
        for passage in chunk(document, config, word_tokens):
            assert document.text[passage.start : passage.end] == passage.text
    assert (count, bad.count) == SIZES[name]


def test_empty_documents_of_cranfield_are_named() -> None:
    folder = shared_data("ir/cranfield")
    with pytest.raises(CorpusError, match=r"corpus\.jsonl\.gz:471: the text is empty"):
        list(read_corpus(folder))


def test_repeated_pages_of_ottqa_are_told_by_metadata() -> None:
    documents = list(islice(read_corpus(shared_data("corpus/ottqa")), 5000))
    repeats = [document for document in documents if "dup_of" in document.metadata]
    by_id = {document.id: document for document in documents}
    assert repeats
    first = next(d for d in repeats if d.metadata["dup_of"] in by_id)
    assert by_id[first.metadata["dup_of"]].text == first.text
