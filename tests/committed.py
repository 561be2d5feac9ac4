"""What the next commit holds, read from Git's index: a sweep may be adding records to the tree while tests run."""

import re
import subprocess
from io import BytesIO

from conftest import ROOT
from PIL import Image

from hf_listops.analysis.pages import prose

# Numbers of the rules and of the paper, which are no results.
RULES = {"50 %", "90 %", "95 %", "0.01"}


def committed(path: str) -> bytes | None:
    shown = subprocess.run(["git", "show", f":{path}"], cwd=ROOT, capture_output=True)
    return shown.stdout if shown.returncode == 0 else None


def page(name: str) -> str:
    """The page of a results folder."""
    text = committed(f"results/{name}/README.md")
    assert text is not None
    return text.decode()


def pictures(name: str) -> list[str]:
    """The pictures that a page shows."""
    return re.findall(r"!\[.*?\]\((.+?)\)", page(name))


def assert_picture_of(name: str, picture: str, digest: str) -> None:
    """Both files of a picture say that they were drawn from the numbers with this SHA-256."""
    with Image.open(BytesIO(committed(f"results/{name}/{picture}") or b"")) as png:
        assert png.info["Description"] == digest
    assert digest in (committed(f"results/{name}/{picture[:-4]}.svg") or b"").decode()


def numbers_in_prose(text: str) -> set[str]:
    """Decimals, percentages and thousands outside of the marked sections: there they would be numbers without a record."""
    plain = re.sub(r"```.*?```|`[^`]*`|\]\(.*?\)", "", prose(text), flags=re.DOTALL)
    return set(re.findall(r"\d[\d,]*\.\d+|\d+ %|\d{1,3}(?:,\d{3})+|\d{3,}", plain)) - RULES
