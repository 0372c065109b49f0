"""Citations as the annotations of an OpenAI message.

OpenAI's chat format knows `url_citation` alone. Its place counts in the answer, and as a checked
citation holds for the answer as a whole, it spans all of it. The URL names the document and, by
the text fragment of RFC 5147, the characters in it; a document that has an `http` address, as its
id or as `url` in its metadata, keeps that. What OpenAI has no word for stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ragib.types import Answer, Citation, Passage


def cite(answer: Answer) -> list[dict[str, Any]]:
    """Return one annotation a citation, in their order.

    `citation` holds `doc_id`, `passage_id`, `start`, `end` (characters in the document as it was
    read) and `quote`, which is verbatim there.
    """
    passages = {hit.passage.id: hit.passage for hit in answer.hits}
    return [_annotation(one, passages, len(answer.text)) for one in answer.citations]


def _annotation(citation: Citation, passages: Mapping[str, Passage], length: int) -> dict[str, Any]:
    passage = passages.get(citation.passage_id)
    title = passage.title if passage else ""
    return {
        "type": "url_citation",
        "url_citation": {
            "start_index": 0,
            "end_index": length,
            "title": title or citation.doc_id,
            "url": f"{_address(citation.doc_id, passage)}#char={citation.start},{citation.end}",
        },
        "citation": {
            "doc_id": citation.doc_id,
            "passage_id": citation.passage_id,
            "start": citation.start,
            "end": citation.end,
            "quote": citation.text,
        },
    }


def _address(doc_id: str, passage: Passage | None) -> str:
    named = passage.metadata.get("url") if passage else None
    for address in (named, doc_id):
        if isinstance(address, str) and address.startswith(("http://", "https://")):
            return address.partition("#")[0]
    return f"ragib:{quote(doc_id.encode('utf-8', 'replace'))}"
