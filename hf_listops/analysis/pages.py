"""The README of a results folder: prose by hand, results by code; and the verdicts on the paper's claims.

The prose holds no result; what stands between `<!-- name -->` and `<!-- /name -->` is made by the section of that name,
and made again whenever the numbers change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hf_listops.analysis.outputs import plain_numbers, save_picture
from hf_listops.data.files import write_atomically
from hf_listops.errors import ListOpsError

Sections = Mapping[str, Callable[[], list[str]]]
"""Lines of Markdown by the name of their place."""

_SECTION = re.compile(r"(<!-- (?P<name>\w+) -->\n).*?(<!-- /(?P=name) -->)", flags=re.DOTALL)


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim, and the numbers that it rests on, in one sentence without its full stop."""

    claim: str
    verdict: Literal["reproduced", "not reproduced", "not yet run"]
    because: str

    @property
    def line(self) -> str:
        """The claim's status in one line, as a table of claims shows it."""
        return f"{self.verdict}: {self.because}"


def verdict_table(*verdicts: Verdict) -> list[str]:
    lines = ["| claim | verdict | because |", "|---|---|---|"]
    return lines + [f"| {of.claim} | **{of.verdict}** | {of.because} |" for of in verdicts]


def write_result(
    out: Path, name: str, result: Any, pictures: Mapping[str, Any], table: str, sections: Sections
) -> list[Path]:
    """Writes what every analysis leaves in a folder: pictures, numbers, tables, and the page that is there.

    Args:
        out (`Path`): the folder, made if need be.
        name (`str`): of `{name}.json`, every number of the result, and of `{name}.md`.
        pictures (`Mapping[str, Figure]`): Matplotlib figures by the name of their PNG and SVG.

    Returns:
        `list[Path]`: all that was written.

    Raises:
        ListOpsError: the page asks for an unknown section; nothing is written then.
    """
    out.mkdir(parents=True, exist_ok=True)
    page = refresh(out, sections)
    numbers = plain_numbers(result)
    paths = [path for picture, figure in pictures.items() for path in save_picture(figure, out / picture, numbers)]
    write_atomically(out / f"{name}.json", numbers)
    write_atomically(out / f"{name}.md", table)
    return [*paths, out / f"{name}.json", out / f"{name}.md", *page]


def refresh(out: Path, sections: Sections) -> list[Path]:
    """Makes the marked sections of `out/README.md` anew and returns its path; nothing where there is no such page.

    Raises:
        ListOpsError: the page asks for an unknown section.
    """
    readme = out / "README.md"
    if not readme.is_file():
        return []
    write_atomically(readme, refreshed(readme.read_text(), sections))
    return [readme]


def refreshed(text: str, sections: Sections) -> str:
    """A page's text with its marked sections made anew. Raises `ListOpsError` for an unknown section."""

    def section(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in sections:
            raise ListOpsError(f"README: there is no section {name!r}; the sections are {', '.join(sections)}")
        return "\n".join([match[1].rstrip(), *sections[name](), match[3]])

    return _SECTION.sub(section, text)


def prose(text: str) -> str:
    """What a page says outside of its marked sections."""
    return _SECTION.sub("", text)
