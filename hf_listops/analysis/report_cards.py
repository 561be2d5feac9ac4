"""Model cards as HTML. They may come from strangers: nothing in them runs, and nothing is loaded from anywhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hf_listops.data.remote import local_folder

_HEAD = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n.*?^---[ \t]*$", re.DOTALL | re.MULTILINE)
_BELOW = 3  # a card's first heading stands below those of the page


def read_card(name: str) -> str | None:
    """The card of `FOLDER` or `NAMESPACE/REPO[@REVISION]` without its YAML head; None if there is none."""
    path = local_folder(name, patterns=("README.md",)) / "README.md"
    return _HEAD.sub("", path.read_text(errors="replace"), count=1) if path.is_file() else None


def card_html(markdown: str) -> str:
    """Markdown with tables as HTML. HTML in it is shown as text, a picture as its description, and only links to web
    pages are links."""
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(markdown)
    _make_inert(tokens)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + _BELOW)}"
    return str(reader.renderer.render(tokens, reader.options, {}))


def _make_inert(tokens: Sequence[Any]) -> None:
    for token in tokens:
        if token.type == "image":
            token.type, token.tag, token.attrs, token.content = "code_inline", "code", {}, f"picture: {token.content}"
        elif token.type == "link_open":
            target = str(token.attrs.get("href", ""))
            is_page = target.startswith(("https://", "http://"))
            token.attrs = {"href": target, "rel": "noopener noreferrer"} if is_page else {}
        _make_inert(token.children or ())
