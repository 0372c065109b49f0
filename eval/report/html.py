"""HTML and SVG elements whose every text is escaped, for want of another way to write one.

A `str` is text and is escaped; only `tag` and the few functions here make `Html`, which is not.
Characters that HTML has no room for (control characters, lone surrogates) become visible ones, one
for one, so that offsets into a cleaned text stay true.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from unicodedata import east_asian_width

_VOID = frozenset({"br", "input", "meta"})
_VISIBLE = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
    **dict.fromkeys(range(0xD800, 0xE000), 0xFFFD),
    0xFFFE: 0xFFFD,
    0xFFFF: 0xFFFD,
}


DASH = "\u2013"
"""Between the bounds of an interval."""


class Html(str):
    """Markup: text that was escaped already."""

    __slots__ = ()


Child = str | int | float | Iterable["Child"] | None
Attribute = str | int | float | bool | None


def clean(text: str) -> str:
    """Replace what cannot stand in a page by what can be seen; the length stays the same."""
    return text.translate(_VISIBLE)


def tag(name: str, *children: Child, **attributes: Attribute) -> Html:
    """Make an element.

    Parameters
    ----------
    name
        Of the element.
    children
        Texts, numbers, elements, and (nested) iterables of them; `None` is nothing.
    attributes
        A trailing `_` goes and any other becomes `-`: `class_`, `aria_label`. `None` and `False`
        leave the attribute out, `True` gives it without a value. Numbers keep two decimals.
    """
    head = name + "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{head}>")
    return Html(f"<{head}>{join(*children)}</{name}>")


def join(*children: Child) -> Html:
    """Put children one after the other, each text escaped."""
    return Html("".join(_child(child) for child in children))


def embedded(value: object, **attributes: Attribute) -> Html:
    r"""Make a script element that holds a JSON value and runs nothing.

    Whatever is not ASCII, and `<`, `>` and `&`, are written as `\uXXXX`: no text in the value can
    end the element, open a comment in it, or be a line end to JavaScript.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    head = "".join(_attribute(key, item) for key, item in attributes.items())
    return Html(f'<script type="application/json"{head}>{text}</script>')


def shortened(text: str, width: int) -> str:
    """Cut the middle out of a text that is wider than `width` columns."""
    if columns(text) <= width:
        return text
    head, tail = [], []
    left = width - 1
    for first, last in zip(text, reversed(text), strict=True):
        left -= columns(first)
        if left < 0:
            break
        head.append(first)
        left -= columns(last)
        if left < 0:
            break
        tail.append(last)
    return "".join(head) + "…" + "".join(reversed(tail))


def columns(text: str) -> int:
    """Count columns as a terminal would: two for a wide character."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def counted(number: int, one: str, more: str) -> str:
    """Write a number of things, as in `1 query`, `2 queries`."""
    return f"{number:,} {one if number == 1 else more}"


def _child(child: Child) -> str:
    match child:
        case None:
            return ""
        case Html():
            return child
        case str():
            return escape(clean(child))
        case int() | float():
            return str(child)
    return "".join(_child(one) for one in child)


def _attribute(key: str, value: Attribute) -> str:
    name = key.removesuffix("_").replace("_", "-")
    match value:
        case None | False:
            return ""
        case True:
            return f" {name}"
        case float():
            return f' {name}="{round(value, 2):g}"'
    return f' {name}="{escape(clean(str(value)))}"'
