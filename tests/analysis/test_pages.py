"""Pages of results: sections are made anew, prose stays, and a wrong page stops a command before it writes."""

from pathlib import Path

import pytest

from hf_listops.analysis.pages import Verdict, prose, refresh, refreshed, verdict_table
from hf_listops.cli import main

PAGE = "# Title\n\n<!-- one -->\nold 0.5\n<!-- /one -->\n\nprose\n\n<!-- two -->\n<!-- /two -->\n"


def test_sections_are_made_anew_and_prose_stays(tmp_path: Path) -> None:
    sections = {"one": lambda: ["new", "lines"], "two": lambda: verdict_table(Verdict("C9", "reproduced", "0.9"))}
    text = refreshed(PAGE, sections)
    assert "<!-- one -->\nnew\nlines\n<!-- /one -->" in text
    assert "| C9 | **reproduced** | 0.9 |\n<!-- /two -->" in text
    assert prose(text) == prose(PAGE) == "# Title\n\n\n\nprose\n\n\n"
    assert refreshed(text, sections) == text
    assert refresh(tmp_path, sections) == []  # no page, no page made
    (tmp_path / "README.md").write_text(PAGE)
    assert refresh(tmp_path, sections) == [tmp_path / "README.md"]
    assert (tmp_path / "README.md").read_text() == text


@pytest.mark.parametrize("question", ["embeddings", "reliance", "dynamics"])
def test_a_page_of_another_question_stops_a_command_before_it_writes(
    question: str, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text(PAGE)
    with pytest.raises(SystemExit) as stopped:
        main(["analyze", question, str(tiny_run), "--out", str(tmp_path)])
    assert stopped.value.code == 2
    assert "README: there is no section 'one'; the sections are " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == PAGE
