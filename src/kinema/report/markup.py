"""HTML built from nested calls. Whatever is not `Markup` is escaped, so a hostile file name stays text."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable
from typing import TypeAlias

_VOID = frozenset({"br", "hr", "img", "meta", "link", "col", "circle", "line", "path", "rect", "polyline"})


class Markup(str):
    """Text that is HTML already; only `tag` and `join` make it from other text."""

    __slots__ = ()


Content: TypeAlias = "str | float | Iterable[Content] | None"
Attribute: TypeAlias = "str | float | bool | None"


def join(*content: Content) -> Markup:
    """The pieces one after the other: Markup as it is, plain text escaped, None left out, iterables flattened."""
    return Markup("".join(_render(piece) for piece in content))


def _render(piece: Content) -> str:
    if piece is None:
        return ""
    if isinstance(piece, Markup):
        return piece
    if isinstance(piece, str):
        return html.escape(_visible(piece))
    if isinstance(piece, int | float):
        return html.escape(str(piece))
    return join(*piece)


def _visible(text: str) -> str:
    """Controls, direction overrides and the surrogates of undecodable file names become a replacement character."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_hidden(character) else character for character in text)


def _is_hidden(character: str) -> bool:
    joiners = "\n\t\u200c\u200d"  # line breaks, and the joiners that Persian and emoji need
    return unicodedata.category(character).startswith("C") and character not in joiners


def tag(name: str, /, *content: Content, **attributes: Attribute) -> Markup:
    """One element. Attribute names: `class_` is class, `data_x` is data-x; None and False leave an attribute out.

    >>> tag("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID and not content:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(*content)}</{name}>")


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {key}"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f' {key}="{html.escape(_visible(text))}"'


def table(head: Iterable[Content], rows: Iterable[Iterable[Content]], *, caption: str, class_: str = "") -> Markup:
    """A table whose first column holds row headings, in a frame that scrolls sideways on narrow screens."""
    columns = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    lines = [_row(list(row)) for row in rows]
    inner = tag("table", tag("caption", caption), tag("thead", columns), tag("tbody", *lines), class_=class_ or None)
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _row(cells: list[Content]) -> Markup:
    first, *rest = cells
    return tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest))
