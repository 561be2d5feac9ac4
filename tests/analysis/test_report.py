"""The page against the run's own files and another PCA, then in a real browser: operated by keys, with no complaint."""

import contextlib
import copy
import io
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from browser import CHROMIUM, Page, browsing
from safetensors.numpy import load_file, save_file
from sklearn.decomposition import PCA

from hf_listops.analysis import embeddings_report, report_page
from hf_listops.analysis.embeddings import geometry
from hf_listops.analysis.history import load_histories
from hf_listops.analysis.inside import load_subjects
from hf_listops.analysis.outputs import plain_numbers, read_numbers
from hf_listops.analysis.report import Report, _embeddings, analyze
from hf_listops.analysis.report_cards import card_html, read_card
from hf_listops.analysis.report_models import _steps
from hf_listops.analysis.report_page import _picture
from hf_listops.cli import main
from hf_listops.errors import ListOpsError
from hf_listops.language import OPERATIONS

HOSTILE = '<img src=x onerror="alert(1)">&amp;'  # a folder's name
BOLD = r"<b>ramp $\bad$"  # another folder's; plotly takes it for markup, Matplotlib for a formula that is wrong
SCRIPT = "</script><script>alert(2)</script><!--<script>"
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
MODELS = ("pure", "plain", "ramp")
OTHERS = (
    "max-mod10-depth2",
    "min-mod10-depth2",
    "med-mod10-depth2",
    "max-med-mod10-depth2",
    "max-min-med-sum-mod10-depth2",
)
BEYOND = 0.125  # by which the ramp ends above the pure run, on SUM
VOID = {"meta", "link", "input", "br", "img", "wbr"}


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


def other_weights(folder: Path) -> None:
    """Two models of the same weights would be one."""
    path = folder / "model.safetensors"
    weights, rng = load_file(path), np.random.default_rng(0)
    noise = {name: 0.1 * rng.standard_normal(of.shape) for name, of in weights.items()}
    changed = {name: (of + noise[name]).astype(of.dtype) for name, of in weights.items()}
    save_file(changed, path, metadata={"format": "pt"})


def with_curriculum(folder: Path) -> None:
    """Makes a run of SUM one with a curriculum, tested on `OTHERS` too, that ends above the run of SUM."""
    config = yaml.safe_load((folder / "run.yaml").read_text()) | {"task": None, "curriculum": KNOTS, "name": "ramp"}
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        for kind in ("exact_match", "answer_accuracy"):
            if kind in line:
                line[kind] |= {task: round(1 / (2 + line["step"] + place), 3) for place, task in enumerate(OTHERS)}
        if "final" in line:
            of_sum = line["final"]["sum-mod10-depth2"]
            line["final"] |= {task: copy.deepcopy(of_sum) for task in OTHERS}
            of_sum["test"]["exact_match"] += BEYOND
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


@pytest.fixture(scope="module")
def made(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """What the command makes of a run, of a model folder without a run, and of a run with a curriculum; with evil names."""
    folder = tmp_path_factory.mktemp("models")
    plain, ramp = folder / HOSTILE, folder / BOLD
    shutil.copytree(tiny_run, ramp, ignore=shutil.ignore_patterns("state", "step-1", "step-2"))
    other_weights(ramp)
    shutil.copytree(ramp, plain, ignore=shutil.ignore_patterns("steps", "run.yaml", "metrics.jsonl", "manifest.json"))
    other_weights(plain)
    (plain / "README.md").write_text(CARD)
    with_curriculum(ramp)
    names = dict(zip(MODELS, map(str, (tiny_run, plain, ramp)), strict=True))
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
    assert SCRIPT in parsed.text  # of the card
    assert "license: apache-2.0" not in parsed.text
    assert data["plain"]["label"] == HOSTILE
    assert (data["ramp"]["label"], data["ramp"]["trained_on"]) == (BOLD, "ramp")
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
    for model in ("pure", "ramp"):
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
    assert [of["step"] for of in snapshots] == [0, 4, 60, 120]
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
        parity = geometry("one", ["one"], [numbers], 24, 4).measures[2]
        assert (parity.quantity, parity.family) == ("parity accuracy", "all")
        assert (of["parity"]["value"], of["parity"]["p_shuffled"]) == pytest.approx((parity.value, parity.p_shuffled))
    np.testing.assert_allclose(np.abs(scores), np.abs(reference), atol=1e-5)  # the last step is not turned
    for before, after in pairwise(snapshots):
        product = np.array(before["scores"]).T @ np.array(after["scores"])
        np.testing.assert_allclose(np.trace(product), np.linalg.svd(product, compute_uv=False).sum(), rtol=1e-4)
    [state] = data["plain"]["snapshots"]
    assert state["step"] is None
    assert np.shape(state["scores"]) == (10, 6)


def test_the_page_holds_the_report(made: Made, parsed: Parsed, tmp_path: Path) -> None:
    numbers = tmp_path / "report.json"
    numbers.write_text(json.dumps(json.loads(parsed.scripts[0])["report"]))
    assert plain_numbers(read_numbers(Report, numbers)) == plain_numbers(made.report)
    groups = {group.group: len(group.models) for group in made.report.embeddings.groups}
    assert groups == {"pure SUM mod 10": 2, "mixed MAX, MED, SUM mod 10": 1}
    assert made.report.missing == {}
    pictures = [a["alt"] for tag, a, _ in parsed.elements if tag == "img"]
    first = ["Share", "Correlations,", "Correlations,", "Loss,", "Exact", "Norms,"]
    assert [str(alt).split()[0] for alt in pictures] == first


def test_dynamics_and_transfer_are_of_the_finished_runs(made: Made, data: dict[str, Any], parsed: Parsed) -> None:
    report = made.report
    assert report.dynamics is not None
    assert report.transfer is not None
    assert [group.runs for group in report.dynamics.groups] == [(made.names["pure"],), (made.names["ramp"],)]
    for group, model in zip(report.dynamics.groups, ("pure", "ramp"), strict=True):
        assert group.loss.mean == pytest.approx(data[model]["losses"], rel=1e-6)
        curves = {curve["task"]: curve["exact_match"] for curve in data[model]["curves"]}
        assert {of.task: pytest.approx(of.exact_match.mean, rel=1e-6) for of in group.accuracies} == curves
    ramp, pure = report.transfer.groups
    assert (ramp.models, pure.models) == ((made.names["ramp"],), (made.names["pure"],))
    assert ramp.gain is not None
    assert ramp.gain.gain.mean == pytest.approx(BEYOND)
    assert list(ramp.forgetting) == ["MAX", "MED"]
    assert f"{BEYOND:+.3f}" in parsed.text
    assert [len(model.snapshots) for model in report.models] == [6, 1, 4]


def test_snapshots_taken_from_dynamics_are_those_of_the_run_itself(made: Made) -> None:
    ramp = made.report.models[2]
    [history] = load_histories([ramp.name])
    assert _steps(history, None, 24, 4) == (ramp.variance, ramp.snapshots)
    assert made.report.dynamics is not None
    both = replace(made.report.dynamics.groups[1], runs=(ramp.name, "another seed"), snapshots=())
    assert _steps(history, replace(made.report.dynamics, groups=(both,)), 24, 4)[1] == ramp.snapshots


def test_a_group_of_many_operations_has_a_short_name_and_any_name_is_drawn(made: Made) -> None:
    [subject] = load_subjects([made.names["pure"]])
    report = _embeddings([replace(subject, operations=tuple(OPERATIONS), variant="init0.1")], 9, 2)
    assert [group.group for group in report.groups] == [f"mixed {', '.join(OPERATIONS)} mod 10, init0.1"]
    [group] = report.groups
    figure = _picture(embeddings_report.draw, replace(group, group=rf"{'x' * 300} $\bad$"))
    assert figure.startswith("data:image/svg+xml;base64,")


def test_cards() -> None:
    page = card_html(CARD)
    assert "<script" not in page
    assert "<img" not in page
    assert [a.get("href") for tag, a, _ in Parsed(page).elements if tag == "a"] == [None, None, "https://example.org/"]
    assert "<h4>" in page
    assert "<td><code>&lt;i&gt;</code></td>" in page


@pytest.mark.parametrize("head", ["", "---\nlicense: mit\n---\n", "\ufeff---\r\nlicense: mit\r\n---\r\n"])
def test_a_card_loses_its_head_alone(head: str, tmp_path: Path) -> None:
    body = "# A card\n\n---\n\nbetween the rules\n\n---\n\nbelow\n"
    with (tmp_path / "README.md").open("w", newline="") as file:
        file.write(head + body)
    assert str(read_card(str(tmp_path))).lstrip() == body


def test_what_cannot_be_made_says_why(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that kept no step, and a model of another operation, without a run and a card."""
    run, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(tiny_run, run, ignore=shutil.ignore_patterns("state", "steps"))
    shutil.copytree(
        run, other, ignore=shutil.ignore_patterns("README.md", "run.yaml", "metrics.jsonl", "manifest.json")
    )
    other_weights(other)
    config = json.loads((other / "config.json").read_text()) | {"listops_task": "min-mod10-depth2"}
    (other / "config.json").write_text(json.dumps(config))
    assert read_card(str(other)) is None
    monkeypatch.setattr(report_page, "_picture", lambda *_: "data:,")  # drawn in the other tests
    text = Parsed(report_page.make_report([str(other), str(run)], tmp_path / "out", 10, 19, 9).read_text()).text
    assert "other has no card." in text
    assert f"Not shown (model: {str(run)!r} has a single revision" in text
    assert "Not shown (model: none of the 1 runs has a curriculum" in text
    assert "Not shown (operation: the models share none" in text
    missing = analyze([str(other)], 10, 19, 9).missing
    assert missing["dynamics"].startswith("model: no run is named;")
    assert missing["transfer"].startswith("model: none of the 0 runs has a curriculum;")


def test_wrong_input(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ListOpsError, match="model: there is none to look into"):
        analyze([])
    out = tmp_path / "out"
    with pytest.raises(ListOpsError, match="is named twice"):
        report_page.make_report([str(tiny_run), str(tiny_run)], out)
    with pytest.raises(ListOpsError, match="neither a folder"):
        report_page.make_report([str(tmp_path / "none")], out)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ListOpsError, match=r"install the extra with: pip install 'hf_listops\[report\]'"):
        report_page.make_report([str(tiny_run)], out)
    assert [*tmp_path.iterdir()] == []


def test_a_curriculum_with_a_hostile_name_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run", ignore=shutil.ignore_patterns("state", "steps"))
    with_curriculum(tmp_path / "run")
    config = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    for field in ("name", "variant"):
        (tmp_path / "run" / "run.yaml").write_text(yaml.safe_dump(config | {field: SCRIPT}))
        with pytest.raises(ListOpsError, match="cannot stand in a run's name"):
            report_page.make_report([str(tmp_path / "run")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


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
        for place in (3, 2, 1):
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
        last = data["pure"]["snapshots"][-1]
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
        table = page.run(
            "(({scrollWidth, clientWidth}) => [scrollWidth, clientWidth])(document.querySelector('#models .scroll'))"
        )
        assert page.run("document.querySelectorAll('#models thead th').length") == 5 + 1 + len(OTHERS)
        assert width < 1200 or table[0] <= table[1]

    def test_it_complains_of_nothing_and_asks_for_nothing(self, page: Page) -> None:
        assert page.complaints == []
        assert {address.partition(":")[0] for address in page.requests} <= {"file", "data", "blob"}
        assert len([address for address in page.requests if address.startswith("file:")]) == 1

    def test_without_webgl_and_with_a_single_component(
        self, made: Made, data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(report_page, "_picture", lambda *_: "data:,")
        with browsing("--disable-3d-apis") as page:
            page.open(made.path)
            assert page.run("document.getElementById('space').hidden && !document.getElementById('no-webgl').hidden")
            [flat] = drawn(page, "plane")
            assert [flat["x"], flat["y"]] == plotted(data["pure"]["snapshots"][-1], 0, 1)
            assert page.complaints == []
            evil = "const of = document.createElement('script'); of.text = 'window.evil = 1'; document.body.append(of)"
            assert page.run(f"(() => {{ {evil}; return window.evil ?? 0; }})()") == 0  # the page's policy forbids it
            assert ["Content Security Policy" in of for of in page.complaints] == [True]
            page.complaints.clear()
            plain = made.report.models[1]
            [state] = plain.snapshots
            flat_state = replace(state, scores=tuple(row[:1] for row in state.scores), parity=None)
            report = replace(made.report, models=(replace(plain, snapshots=(flat_state,), variance=(1.0,)),))
            (tmp_path / "one.html").write_text(report_page.page(report, {plain.name: report_page.Extras(None, None)}))
            page.open(tmp_path / "one.html")
            text = "document.getElementById('parity-text').textContent"
            assert page.run(text) == "There is one component, too few to tell odd from even by."
            [only] = drawn(page, "plane")
            assert only["x"] == only["y"] == pytest.approx([row[0] for row in state.scores], rel=1e-6)
            assert page.complaints == []
