"""Every number on the pages of figures 2 to 5 and of reliance comes from committed numbers, and these from the records."""

import hashlib
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from committed import assert_picture_of, committed, numbers_in_prose, page, pictures

from hf_listops.analysis import dynamics_report, embeddings_report, reliance_report, transfer_report
from hf_listops.analysis.dynamics import Dynamics
from hf_listops.analysis.embeddings import Embeddings
from hf_listops.analysis.outputs import plain_numbers, read_numbers
from hf_listops.analysis.pages import Sections, refreshed
from hf_listops.analysis.reliance import Comparison
from hf_listops.analysis.transfer import Transfer

Page = tuple[str, type[Any], Callable[[Any], Sections]]

PAGES: dict[str, Page] = {
    "figure2": ("embeddings.json", Embeddings, embeddings_report.sections),
    "figure3": ("embeddings.json", Embeddings, partial(embeddings_report.sections, parity_alone=True)),
    "figure4": ("dynamics.json", Dynamics, dynamics_report.sections),
    "figure5": ("transfer.json", Transfer, transfer_report.sections),
    "reliance": ("reliance.json", Comparison, reliance_report.sections),
}


def numbers(name: str) -> str:
    text = committed(f"results/{name}/{PAGES[name][0]}")
    assert text is not None
    return text.decode()


def result(name: str, folder: Path) -> Any:
    path = folder / f"{name}.json"
    path.write_text(numbers(name))
    return read_numbers(PAGES[name][1], path)


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_made_from_the_numbers(name: str, tmp_path: Path) -> None:
    found = result(name, tmp_path)
    assert plain_numbers(found) == numbers(name)
    assert page(name) == refreshed(page(name), PAGES[name][2](found)), "make it again with the page's last command"
    digest = hashlib.sha256(numbers(name).encode()).hexdigest()
    assert pictures(name)
    for picture in pictures(name):
        assert_picture_of(name, picture, digest)
    assert not numbers_in_prose(page(name))
    assert "differs from the paper" in page(name)


@pytest.mark.parametrize("name", PAGES)
def test_a_change_of_a_number_changes_the_page(name: str, tmp_path: Path) -> None:
    """So that the comparison above can fail."""
    path = tmp_path / "changed.json"
    changed = re.sub(r'("(?:exact_match|value|mean)": )(?:\[\s*)?[\d.]+', lambda m: f"{m[0]}1", numbers(name))
    path.write_text(changed)
    found = read_numbers(PAGES[name][1], path)
    assert refreshed(page(name), PAGES[name][2](found)) != page(name)


def records(*names: str) -> dict[str, dict[str, Any]]:
    """Records by the name of the run's folder in its sweep."""
    found = {}
    for name in names:
        for line in (committed(f"results/{name}/runs.jsonl") or b"").splitlines():
            record = json.loads(line)
            found[f"{record['run']}-{record['hash']}"] = record
    return found


def of_run(name: str, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return found[Path(name).name]


def test_the_curves_of_figure_4_are_those_of_its_records(tmp_path: Path) -> None:
    found = records("figure4")
    runs = 0
    for group in result("figure4", tmp_path).groups:
        for place, run in enumerate(group.runs):
            curve = of_run(run, found)["curve"]
            for of in group.accuracies:
                assert of.exact_match.steps == tuple(line["step"] for line in curve)
                expected = [line["exact_match"][of.task] for line in curve]
                assert of.exact_match.runs[place] == pytest.approx(expected, abs=1e-6)
            losses = dict(zip(group.loss.steps, group.loss.runs[place], strict=True))
            for line in curve[1:]:
                assert losses[line["step"]] == pytest.approx(line["loss"], rel=1e-6)
            runs += 1
    assert runs == len(found)


def test_the_accuracies_of_figure_5_are_those_of_its_records(tmp_path: Path) -> None:
    found = records("figure5")
    runs = 0
    for group in result("figure5", tmp_path).groups:
        for place, run in enumerate(group.models):
            record = of_run(run, found)
            assert group.final.seeds[place] == pytest.approx(record["final"][group.target]["test"]["exact_match"])
            for operation, curve in group.operations.items():
                (task,) = [name for name in record["final"] if name.startswith(f"{operation.lower()}-mod")]
                expected = [line["exact_match"][task] for line in record["curve"]]
                assert curve.seeds[place] == pytest.approx(expected, abs=1e-6)
            runs += 1
    assert runs == len(found)


@pytest.mark.parametrize("name", ["figure2", "figure3", "reliance"])
def test_the_models_looked_into_are_recorded_runs_and_as_accurate(name: str, tmp_path: Path) -> None:
    """Measured anew on the same test split: another route and machine may turn a row in a thousand."""
    found = records("figure1", "init_scale", "figure2", "figure4", "figure5")
    of = result(name, tmp_path)
    if name == "reliance":
        measured = [(model.model, model.group, model.intact.exact_match) for model in of.models]
    else:
        measured = [
            (model, group.group, share)
            for group in of.groups
            for model, share in zip(group.models, group.exact_match, strict=True)
        ]
    assert measured
    for model, group, share in measured:
        operation = group.split()[1].lower()
        final = of_run(model, found)["final"]
        (task,) = [task for task in final if task.startswith(f"{operation}-mod")]
        assert share == pytest.approx(final[task]["test"]["exact_match"], abs=0.0011)
        assert share >= of.above == 0.9
