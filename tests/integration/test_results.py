"""Every number that a page of transitions shows comes from the committed records, by the command that the page gives."""

import re
from pathlib import Path

import pytest
from committed import assert_picture_of, committed, numbers_in_prose, page, pictures
from conftest import ROOT

from hf_listops.analysis.emergence import emergence_of
from hf_listops.analysis.emergence_readme import SECTIONS, Results, sections, write_results
from hf_listops.analysis.emergence_report import digest, markdown
from hf_listops.analysis.outputs import plain_numbers
from hf_listops.analysis.pages import prose, refreshed
from hf_listops.errors import ListOpsError
from hf_listops.hub.records import read_records
from hf_listops.sweep.grid import read_sweep

# name of the results, and of those that they are compared with
PAGES = {"figure1": None, "init_scale": "figure1", "shuffled": None}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    """The committed results by name."""
    folder = tmp_path_factory.mktemp("records")

    def records(of: str) -> Path:
        path = folder / f"{of}.jsonl"
        path.write_bytes(committed(f"results/{of}/runs.jsonl") or b"")
        return path

    def planned(of: str) -> int:
        return len(read_sweep(ROOT / "recipes" / f"{of}.yaml").runs)

    return {
        name: Results(read_records(records(name)), planned(name), read_records(records(usual)) if usual else ())
        for name, usual in PAGES.items()
    }


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_made_from_the_records(name: str, found: dict[str, Results]) -> None:
    of = found[name]
    assert page(name) == refreshed(page(name), sections(of)), (
        f"make it again with the command in results/{name}/README.md"
    )
    assert f"{of.emergence.runs} of {of.planned} runs done" in page(name)
    assert "What differs from the paper" in page(name)


@pytest.mark.parametrize("name", PAGES)
def test_pictures_and_tables_are_of_the_same_records(name: str, found: dict[str, Results]) -> None:
    emergence = found[name].emergence
    tables = committed(f"results/{name}/emergence.md"), committed(f"results/{name}/emergence.json")
    assert tables == (markdown(emergence).encode(), plain_numbers(emergence).encode())
    assert bool(pictures(name)) == bool(emergence.runs)
    for picture in pictures(name):
        assert_picture_of(name, picture, digest(emergence))


@pytest.mark.parametrize("name", PAGES)
def test_prose_holds_no_results(name: str) -> None:
    assert not numbers_in_prose(page(name))


@pytest.mark.parametrize("name", PAGES)
def test_the_command_of_the_page_makes_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a copy of the project, as the page says it: with four records, and with none, when nothing is touched."""
    from hf_listops.cli import main

    (command,) = re.findall(r"^hf-listops (analyze emergence .*)$", page(name), flags=re.MULTILINE)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    for of in PAGES:
        folder = tmp_path / "results" / of
        folder.mkdir(parents=True)
        (folder / "README.md").write_text(page(of))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results" / name
    with pytest.raises(SystemExit) as exit_:
        main(command.split())
    assert exit_.value.code == 2
    assert [path.name for path in folder.iterdir()] == ["README.md"]
    assert (folder / "README.md").read_text() == page(name)
    records = b"".join((committed("results/figure1/runs.jsonl") or b"").splitlines(keepends=True)[:4])
    for of in {name, *re.findall(r"results/(\w+)/runs\.jsonl", command)}:
        (tmp_path / "results" / of / "runs.jsonl").write_bytes(records)
    main(command.split())
    text = (tmp_path / "results" / name / "README.md").read_text()
    assert "**Under way: 4 of " in text
    assert "![Exact match against total parameters, 10,000 steps](emergence-10000.png)" in text
    assert (tmp_path / "results" / name / "emergence-10000.png").is_file()
    assert prose(text) == prose(page(name))


def test_unknown_sections_and_no_records(tmp_path: Path) -> None:
    with pytest.raises(ListOpsError, match="there is no section 'tabel'; the sections are progress, figure"):
        refreshed("<!-- tabel -->\n<!-- /tabel -->\n", sections(Results(())))
    with pytest.raises(ListOpsError, match=r"records: '.*runs\.jsonl' holds no finished run"):
        write_results(tmp_path / "runs.jsonl", tmp_path / "out")
    (tmp_path / "runs.jsonl").write_bytes(committed("results/figure1/runs.jsonl") or b"")
    with pytest.raises(ListOpsError, match=r"against: '.*other\.jsonl' holds no finished run"):
        write_results(tmp_path / "runs.jsonl", tmp_path / "out", against=tmp_path / "other.jsonl")
    assert not (tmp_path / "out").exists()


def test_a_change_of_a_record_changes_the_page(found: dict[str, Results]) -> None:
    """So that the comparison above can fail."""
    of = found["figure1"]
    changed = [dict(record) for record in of.records]
    first = changed[0]
    first["final"] = {name: {"test": {"exact_match": 0.01, "rows": 2000}} for name in first["final"]}
    assert refreshed(page("figure1"), sections(Results(changed, of.planned))) != refreshed(
        page("figure1"), sections(of)
    )
    assert digest(emergence_of(changed)) != digest(of.emergence)
    used = set(re.findall(r"<!-- (\w+) -->", "".join(map(page, PAGES))))
    assert used == set(SECTIONS)
