"""The page against the run's own files and another PCA, then in a real browser: operated by keys, with no complaint."""

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from browser import CHROMIUM, Page, browsing
from safetensors.numpy import load_file
from sklearn.decomposition import PCA

from hf_listops.analysis import report_page
from hf_listops.analysis.embeddings import geometry
from hf_listops.analysis.outputs import plain_numbers, read_numbers
from hf_listops.analysis.report import Report, analyze
from hf_listops.analysis.report_cards import card_html, read_card
from hf_listops.cli import main
from hf_listops.errors import ListOpsError

HOSTILE = '<img src=x onerror="alert(1)">&amp;'  # a folder's name
BOLD = "<b>ramp"  # another folder's; plotly takes it for markup
SCRIPT = "</script><script>alert(2)</script><!--<script>"  # a curriculum's name
CARD = f"""---
license: apache-2.0
---

# A <b>card</b>

<script>alert(3)</script>
{SCRIPT}
![a picture](https://example.org/spy.png) [bad](javascript:alert(4)) [out](../../secret) [far](//example.org/x)
[good](https://example.org/)

| a | b |
|---|---|
| 1 | `<i>` |
"""
KNOTS = [{"step": 0, "mix": {"max-med-mod10-depth2": 1}}, {"step": 60, "mix": {"sum-mod10-depth2": 1}}]
MODELS = ("trained", "plain", "ramp")
VOID = {"meta", "link", "input", "br", "img"}


@dataclass
class Made:
    names: dict[str, str]
    path: Path
    report: Report


class Parsed(HTMLParser):
    """Elements in order, their texts, and the texts of scripts; fails on an element that is not closed as it was opened."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self.text, self.scripts, self.open = "", [], []  # type: ignore[var-annotated]
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and "svg" not in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts[-1] += data
        else:
            self.text += data


@pytest.fixture(scope="module")
def made(trained: Path, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """What the command makes of a run, of a model folder without a run, and of a run with a curriculum; with evil names."""
    folder = tmp_path_factory.mktemp("models")
    plain, ramp = folder / HOSTILE, folder / BOLD
    shutil.copytree(tiny_run, ramp, ignore=shutil.ignore_patterns("state"))
    shutil.copytree(ramp, plain, ignore=shutil.ignore_patterns("steps", "run.yaml", "metrics.jsonl", "manifest.json"))
    (plain / "README.md").write_text(CARD)
    config = yaml.safe_load((ramp / "run.yaml").read_text()) | {"task": None, "curriculum": KNOTS, "name": SCRIPT}
    (ramp / "run.yaml").write_text(yaml.safe_dump(config))
    names = dict(zip(MODELS, map(str, (trained, plain, ramp)), strict=True))
    report = analyze([*names.values()], rows=40, permutations=99, draws=9)
    out, printed = tmp_path_factory.mktemp("out") / "new", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(report_page, "analyze", lambda *_: report)  # of fewer rows and draws than the command's
        assert main(["report", *names.values(), "--out", str(out)]) == 0
    path = out / "report.html"
    assert printed.getvalue() == f"{path}\n"
    assert [*out.iterdir()] == [path]
    return Made(names, path, report)


@pytest.fixture(scope="module")
def parsed(made: Made) -> Parsed:
    return Parsed(made.path.read_text())


@pytest.fixture(scope="module")
def data(parsed: Parsed) -> dict[str, Any]:
    """What the page's scripts see, by model."""
    models = json.loads(parsed.scripts[0])["report"]["models"]
    return dict(zip(MODELS, models, strict=True))


def test_nothing_is_loaded_and_nothing_foreign_runs(parsed: Parsed) -> None:
    for tag, attributes, _ in parsed.elements:
        assert tag not in {"iframe", "object", "embed", "base", "form", "b"}
        assert not any(name.startswith("on") or name in ("srcset", "style", "ping") for name in attributes)
        assert str(attributes.get("src", "data:image/")).startswith("data:image/")
        if tag == "link":
            assert attributes["href"] == "data:,"
        if tag == "a" and "href" in attributes:
            assert attributes["href"] == "https://example.org/" or str(attributes["href"]).startswith(
                ("#", "https://")
            )
            assert str(attributes["href"]).startswith("#") or attributes["rel"] == "noopener noreferrer"
    assert len(parsed.scripts) == 3
    styles = (Path(report_page.__file__).parent / "report.css").read_text()
    assert "url(" not in styles
    assert "@import" not in styles
    assert "<" not in parsed.scripts[0]
    policy = next(a["content"] for tag, a, _ in parsed.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'; script-src 'sha256-")


def test_names_and_cards_are_shown_as_they_are(parsed: Parsed, data: dict[str, Any]) -> None:
    assert parsed.text.count(HOSTILE) > 3
    assert "<script>alert(3)</script>" in parsed.text
    assert SCRIPT in parsed.text
    assert "license: apache-2.0" not in parsed.text
    assert data["plain"]["label"] == HOSTILE
    assert data["ramp"]["trained_on"] == SCRIPT
    assert "is shown without learning curves" in parsed.text


def test_the_page_can_be_used_without_a_mouse(parsed: Parsed) -> None:
    """Every control has a label, every id is there once, every link inside the page leads somewhere."""
    ids = [a["id"] for _, a, _ in parsed.elements if "id" in a]
    assert len(ids) == len(set(ids))
    labelled = {a.get("for") for tag, a, _ in parsed.elements if tag == "label"}
    for tag, attributes, above in parsed.elements:
        if tag in ("input", "select"):
            assert "label" in above or attributes["id"] in labelled
        if tag == "a" and str(attributes.get("href")).startswith("#"):
            assert str(attributes["href"])[1:] in ids
        if tag == "img":
            assert attributes["alt"]


def test_curves_are_those_of_the_metrics(made: Made, data: dict[str, Any]) -> None:
    for model in ("trained", "ramp"):
        lines = [json.loads(line) for line in (Path(made.names[model]) / "metrics.jsonl").read_text().splitlines()]
        final = next(line["final"] for line in lines if "final" in line)
        assert {curve["task"] for curve in data[model]["curves"]} == set(final)
        for curve in data[model]["curves"]:
            measured = [(line["step"], line["exact_match"][curve["task"]]) for line in lines if "exact_match" in line]
            np.testing.assert_allclose(
                list(zip(curve["steps"], curve["exact_match"], strict=True)), measured, rtol=1e-6
            )
            of = final[curve["task"]]["test"]
            shown = [curve["final_exact_match"], curve["final_answer_accuracy"], curve["chance"], curve["rows"]]
            assert shown == pytest.approx([of[key] for key in ("exact_match", "answer_accuracy", "chance", "rows")])
        losses = [(line["step"], line["loss"]) for line in lines if "loss" in line]
        np.testing.assert_allclose(
            list(zip(data[model]["loss_steps"], data[model]["losses"], strict=True)), losses, rtol=1e-6
        )
    assert data["plain"]["curves"] == data["plain"]["losses"] == []
    assert data["plain"]["steps"] is None


def test_components_are_those_of_another_pca_at_every_step(made: Made, data: dict[str, Any]) -> None:
    """Up to a rotation, which brings each step as near to the next as any other could."""
    folder = Path(made.names["ramp"])
    snapshots = data["ramp"]["snapshots"]
    assert [of["step"] for of in snapshots] == [0, 1, 2, 4, 60, 120]
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    for of in snapshots:
        where = folder if of["step"] == 120 else folder / "steps" / f"step-{of['step']}"
        numbers = load_file(where / "model.safetensors")["transformer.wte.weight"][
            [vocabulary[str(n)] for n in range(10)]
        ]
        numbers = numbers.astype(np.float64)
        unit = numbers - numbers.mean(axis=1, keepdims=True)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        reference, scores = PCA(6).fit_transform(unit), np.array(of["scores"])
        np.testing.assert_allclose(scores @ scores.T, reference @ reference.T, atol=1e-5)
        if of["step"] not in (0, 120):
            continue
        parity = geometry("one", ["one"], [numbers], 499, 99).measures[2]
        assert (parity.quantity, parity.family) == ("parity accuracy", "all")
        assert (of["parity"]["value"], of["parity"]["p_shuffled"]) == pytest.approx((parity.value, parity.p_shuffled))
    np.testing.assert_allclose(np.abs(scores), np.abs(reference), atol=1e-5)  # the last step is not turned
    for before, after in pairwise(snapshots):
        product = np.array(before["scores"]).T @ np.array(after["scores"])
        np.testing.assert_allclose(np.trace(product), np.linalg.svd(product, compute_uv=False).sum(), rtol=1e-4)
    assert data["plain"]["snapshots"][0] == {**snapshots[-1], "step": None}


def test_the_page_holds_the_report(made: Made, parsed: Parsed, tmp_path: Path) -> None:
    numbers = tmp_path / "report.json"
    numbers.write_text(json.dumps(json.loads(parsed.scripts[0])["report"]))
    assert plain_numbers(read_numbers(Report, numbers)) == plain_numbers(made.report)
    groups = {group.group: len(group.models) for group in made.report.embeddings.groups}
    assert groups == {"mixed MAX mod 10, mixed MED mod 10, mixed SUM mod 10": 2, "pure SUM mod 10": 1}
    assert made.report.operation == "SUM"
    assert made.report.reliance is not None
    assert len(made.report.reliance.models) == 3
    pictures = [a["alt"] for tag, a, _ in parsed.elements if tag == "img"]
    assert [str(alt).split()[0] for alt in pictures] == ["Share", "Correlations,", "Correlations,", "Norms,"]


def test_cards() -> None:
    page = card_html(CARD)
    assert "<script" not in page
    assert "<img" not in page
    assert [a.get("href") for tag, a, _ in Parsed(page).elements if tag == "a"] == [None, None, "https://example.org/"]
    assert "<h4>" in page
    assert "<td><code>&lt;i&gt;</code></td>" in page


def test_a_model_without_a_card_and_models_that_share_nothing(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        shutil.copytree(tiny_run, folder, ignore=shutil.ignore_patterns("state", "steps"))
    (other / "README.md").unlink(missing_ok=True)
    assert read_card(str(other)) is None
    fields = yaml.safe_load((other / "run.yaml").read_text())
    knots = [{"step": 0, "mix": {"min-mod10-depth2": 1}}]
    (other / "run.yaml").write_text(yaml.safe_dump(fields | {"task": None, "name": "x", "curriculum": knots}))
    monkeypatch.setattr(report_page, "_figures", lambda *_: report_page.Figures((), ""))  # drawn in the other tests
    path = report_page.make_report([str(other), str(one)], tmp_path / "out", 10, 19, 9)
    text = Parsed(path.read_text()).text
    assert "other has no card." in text
    assert "The models are not compared here: the models share no operation." in text


def test_wrong_input(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ListOpsError, match="model: there is none to report on"):
        analyze([])
    out = tmp_path / "out"
    with pytest.raises(ListOpsError, match="is named twice"):
        report_page.make_report([str(trained), str(trained)], out)
    with pytest.raises(ListOpsError, match="neither a folder"):
        report_page.make_report([str(tmp_path / "none")], out)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ListOpsError, match=r"install the extra with: pip install 'hf_listops\[report\]'"):
        report_page.make_report([str(trained)], out)
    assert [*tmp_path.iterdir()] == []


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH; apt-get install chromium")


@pytest.fixture(scope="module")
def page(made: Made) -> Iterator[Page]:
    with browsing("--enable-unsafe-swiftshader") as page:
        page.resize(1200)
        page.open(made.path)
        yield page


def drawn(page: Page, plot: str) -> list[dict[str, Any]]:
    """The traces of a plot that are to be seen."""
    visible = f"document.getElementById('{plot}').data.filter((trace) => trace.visible !== false)"
    found: list[dict[str, Any]] = page.run(f"{visible}.map(({{x, y, z}}) => ({{x, y, z}}))")
    return found


def choose(page: Page, control: str, value: int | str) -> None:
    page.run(f"""(() => {{
        const control = document.getElementById('{control}');
        control.value = '{value}';
        control.dispatchEvent(new Event('change'));
    }})()""")


def plotted(snapshot: dict[str, Any], *components: int) -> list[list[float]]:
    return [[row[component] for row in snapshot["scores"]] for component in components]


@needs_browser
class TestInABrowser:
    def test_curves_and_their_switches(self, page: Page, data: dict[str, Any]) -> None:
        curves = [curve for model in data.values() for curve in model["curves"]]
        assert [trace["y"] for trace in drawn(page, "accuracy")] == [curve["exact_match"] for curve in curves]
        assert [trace["x"] for trace in drawn(page, "loss")] == [model["loss_steps"] for model in data.values()]
        assert page.run("document.querySelectorAll('#accuracy .scatterlayer .trace path.js-line').length") == len(
            curves
        )
        page.run("document.querySelector('#curve-models input').focus()")
        page.press(" ", 32)
        assert [trace["y"] for trace in drawn(page, "accuracy")] == [
            curve["exact_match"] for curve in data["ramp"]["curves"]
        ]
        assert len(drawn(page, "loss")) == 2
        page.press(" ", 32)
        page.run("document.querySelector('#curve-mixes input').click()")  # MAX
        assert len(drawn(page, "accuracy")) == len([curve for curve in curves if curve["mix"] != "MAX"])
        page.run("document.querySelector('#curve-mixes input').click()")

    def test_components_at_the_step_of_the_slider(self, page: Page, data: dict[str, Any]) -> None:
        choose(page, "model", 2)
        snapshots = data["ramp"]["snapshots"]
        for place in (5, 4, 3):
            [flat], [deep] = drawn(page, "plane"), drawn(page, "space")
            assert [flat["x"], flat["y"]] == plotted(snapshots[place], 0, 1)
            assert [deep["x"], deep["y"], deep["z"]] == plotted(snapshots[place], 0, 1, 2)
            assert page.run("document.getElementById('step-text').textContent") == str(snapshots[place]["step"])
            p = snapshots[place]["parity"]["p_shuffled"]
            assert f"(p {float(f'{p:.2g}'):g})" in page.run("document.getElementById('parity-text').textContent")
            page.run("document.getElementById('step').focus()")
            page.press("ArrowLeft", 37)
        assert page.run("document.querySelectorAll('#plane .points path').length") == 10
        assert [trace["y"] for trace in drawn(page, "parity")][1] == [of["parity"]["value"] for of in snapshots]

    def test_other_models_components_and_colours(self, page: Page, data: dict[str, Any]) -> None:
        choose(page, "model", 0)
        choose(page, "x", 3)
        choose(page, "y", 5)
        last = data["trained"]["snapshots"][-1]
        [flat] = drawn(page, "plane")
        assert [flat["x"], flat["y"]] == plotted(last, 3, 5)
        fills = "new Set([...document.querySelectorAll('#plane .points path')].map((point) => point.style.fill)).size"
        assert page.run(fills) == 2
        choose(page, "color", "value")
        assert page.run(fills) == 10
        choose(page, "model", 1)  # one state alone: nothing to slide over
        [flat] = drawn(page, "plane")
        assert [flat["x"], flat["y"]] == plotted(data["plain"]["snapshots"][0], 0, 1)
        assert page.run("document.getElementById('step').disabled && document.getElementById('parity-figure').hidden")

    def test_names_in_it_are_texts(self, page: Page) -> None:
        assert page.run("document.querySelector('#model option:nth-child(2)').textContent") == HOSTILE
        last = page.run("document.getElementById('accuracy').data.length - 1")
        page.run(f"Plotly.Fx.hover('accuracy', [{{curveNumber: {last}, pointNumber: 1}}])")
        assert BOLD in page.run("document.querySelector('#accuracy .hovertext').textContent")
        assert SCRIPT not in page.run("document.documentElement.outerHTML")
        assert page.run("document.scripts.length") == 3

    @pytest.mark.parametrize("width", [1200, 390])
    def test_it_fits(self, page: Page, width: int) -> None:
        page.resize(width)
        assert page.run("document.documentElement.scrollWidth") <= width

    def test_it_complains_of_nothing_and_asks_for_nothing(self, page: Page) -> None:
        assert page.complaints == []
        assert {address.partition(":")[0] for address in page.requests} <= {"file", "data", "blob"}
        assert len([address for address in page.requests if address.startswith("file:")]) == 1

    def test_without_webgl(self, made: Made, data: dict[str, Any]) -> None:
        with browsing("--disable-3d-apis") as page:
            page.open(made.path)
            assert page.run("document.getElementById('space').hidden && !document.getElementById('no-webgl').hidden")
            [flat] = drawn(page, "plane")
            assert [flat["x"], flat["y"]] == plotted(data["trained"]["snapshots"][-1], 0, 1)
            assert page.complaints == []
            evil = "const of = document.createElement('script'); of.text = 'window.evil = 1'; document.body.append(of)"
            assert page.run(f"(() => {{ {evil}; return window.evil ?? 0; }})()") == 0  # the page's policy forbids it
