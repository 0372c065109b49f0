"""Files that are one document each: plain text, Markdown and PDF. HTML has its own module."""

from __future__ import annotations

import logging
import re
from io import BytesIO

from ragib.corpus.opening import decoded
from ragib.extras import require

_FENCE = re.compile(r" {0,3}(```|~~~)")
_HEADING = re.compile(r" {0,3}#{1,6}\s+(.*?)[\s#]*$")
_UNDERLINE = re.compile(r" {0,3}=+\s*")


def parse_text(data: bytes) -> tuple[str, str]:
    """Read plain text: no title, and the text as it stands."""
    return "", decoded(data)


def parse_markdown(data: bytes) -> tuple[str, str]:
    """Read Markdown: its first heading is the title, the text is kept as it stands."""
    text = decoded(data)
    return _first_heading(text), text


def _first_heading(text: str) -> str:
    fence = before = ""
    for line in text.splitlines():
        opening = _FENCE.match(line)
        if opening and fence in ("", opening[1]):
            fence = "" if fence else opening[1]
        elif not fence:
            heading = _HEADING.match(line)
            if heading:
                return heading[1]
            if before.strip() and _UNDERLINE.fullmatch(line):
                return before.strip()
        before = line
    return ""


def parse_pdf(data: bytes) -> tuple[str, str]:
    """Read a PDF: the title of its properties, and the text layer, a blank line between pages.

    Raises
    ------
    ValueError
        It is encrypted, damaged, or has no text layer.
    MissingExtraError
        pypdf is not installed.
    """
    pypdf = require("pypdf", "reading PDF")
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it remarks on every oddity it repairs
    try:
        reader = pypdf.PdfReader(BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise ValueError("the PDF is encrypted: save it without a password")
        title = reader.metadata.title if reader.metadata else None
        pages = [page.extract_text().strip() for page in reader.pages]
    except ValueError:
        raise
    except Exception as error:  # a damaged file makes pypdf raise nearly anything
        raise ValueError(f"the PDF cannot be read ({type(error).__name__}: {error})") from None
    text = "\n\n".join(filter(None, pages))
    if not text:
        raise ValueError("the PDF has no text layer: run character recognition on it first")
    return str(title or ""), text
