"""The model card: every number read back out of its tables and compared with the run's own records."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from io import BytesIO
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import numpy as np
import pytest
import yaml
from conftest import ROOT
from huggingface_hub import ModelCard, parse_eval_result_entries
from matplotlib.image import imread

from hf_listops.errors import ListOpsError
from hf_listops.hub import card as card_module
from hf_listops.hub.card import card_files, template_path
from hf_listops.hub.manifest import read_manifest
from hf_listops.hub.names import RunName, dataset_repo, model_repo, parse_model_repo
from hf_listops.hub.pictures import COLORS, curriculum_picture
from hf_listops.hub.run_folder import read_config, read_metrics
from hf_listops.language import OPERATIONS
from hf_listops.training.config import RunConfig
from hf_listops.training.loop import train

MIX, PAIR, SUM = "max-med-sum-mod10-depth2", "max-med-mod10-depth2", "sum-mod10-depth2"
REPO = f"hf-listops/listops-{MIX}-d32-l2-h1-s0"
PNG = b"\x89PNG\r\n\x1a\n"
MEASURES = ("exact_match", "answer_accuracy")


def inputs(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    facts = read_manifest(folder)
    del facts["files"]
    return read_config(folder), read_metrics(folder), facts


def tables(text: str) -> list[list[dict[str, str]]]:
    """The tables of a Markdown text, each as rows by column."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        header, rule, *rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()]
        assert set(rule) == {"---"}
        assert rows
        assert {len(row) for row in rows} == {len(header)}
        found.append([dict(zip(header, row, strict=True)) for row in rows])
    return found


def the_table(text: str, *columns: str) -> list[dict[str, str]]:
    (table,) = [table for table in tables(text) if set(columns) <= set(table[0])]
    return table


def task_of(row: dict[str, str]) -> str:
    return row["task"].strip("`")


def three(value: float) -> str:
    return f"{value:.3f}"


def is_whole(text: str) -> None:
    """No section is empty, nothing is missing, nothing of the template is left."""
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == [
        "What it was trained on", "Accuracy", "How to load it", "How it was made", "Limits", "Licence and citation",
    ]  # fmt: skip
    for section in re.split(r"^##? .*$", text, flags=re.MULTILINE)[1:]:
        assert len(section.split()) > 20
    for wrong in ("None", "nan", "{%", "{{ ", " }}", "||", "\n\n\n"):
        assert wrong not in text, wrong


@pytest.fixture(scope="module")
def ramp(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of a curriculum whose model has room for `test_deeper`."""
    out = tmp_path_factory.mktemp("runs") / "ramp"
    knots = [{"step": 0, "mix": {PAIR: 3, SUM: 1}}, {"step": 6, "mix": {PAIR: 1}}, {"step": 18, "mix": {SUM: 2}}]
    config = RunConfig(
        curriculum=knots, name="ramp", dataset=str(dataset), n_embd=8, n_positions=120, max_steps=24, batch_size=16,
        eval_steps=12, eval_rows=20, logging_steps=4, save_steps=[10], output_dir=str(out),
    )  # fmt: skip
    assert train(config).stopped == "budget"
    return out


def test_every_number_of_a_finished_run(trained: Path) -> None:
    text = (trained / "README.md").read_text()
    metrics = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    manifest = json.loads((trained / "manifest.json").read_text())
    config = yaml.safe_load((trained / "run.yaml").read_text())
    final = metrics[-1]["final"]
    is_whole(ModelCard(text).text)

    measured = {(task_of(row), row["split"]): row for row in the_table(text, "exact match")}
    assert list(measured) == [(name, split) for name, splits in final.items() for split in splits]
    depths = {(task_of(row), row["split"]): row for row in the_table(text, "depth 1")}
    assert list(depths) == list(measured)
    for (name, split), row in measured.items():
        summary = final[name][split]
        assert row["rows"] == str(summary["rows"]) == "120"
        assert row["exact match"] == three(summary["exact_match"])
        assert row["answer accuracy"] == three(summary["answer_accuracy"])
        assert row["chance"] == three(summary["chance"])
        assert row["operations"] == name.split("-mod")[0].upper().replace("-", "+")
        by_depth = {key: value for key, value in depths[name, split].items() if key.startswith("depth")}
        expected = {f"depth {depth}": three(value) for depth, value in summary["exact_match_per_depth"].items()}
        assert {key: value for key, value in by_depth.items() if value != "–"} == expected
    # Rows one level deeper do not fit into 26 positions, which the card says of every task.
    assert {split for _, split in measured} == {"test", "test_unseen_calls"}
    assert re.search(r"longer than the model's 26 positions: `test_deeper` of (`[a-z0-9-]+`(, )?){4}\.\n", text)

    total, non_embedding = manifest["params_total"], manifest["params_non_embedding"]
    assert f"**{total:,} parameters** ({non_embedding:,} outside the embeddings)" in text
    assert f"saw {manifest['tokens']:,} tokens" in text
    assert "From random weights it took 900 of at most\n900 updates of 64 rows" in text
    fields = {row["field"].strip("`"): row["value"] for row in the_table(text, "field")}
    assert len(fields) == 14
    assert fields == {name: str(config[name]) for name in fields}
    assert manifest["generator_version"] == 1
    assert [list(row.values()) for row in the_table(text, "from")] == [
        ["config hash", f"`{manifest['hash']}`"],
        ["code", f"commit `{manifest['commit']}`" if manifest["commit"] else "an installed package, no commit"],
        ["data revision", f"`{manifest['data_revision']}`"],
        ["generator version", "1"],
        ["versions", ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())],
    ]
    assert config["dataset"] not in text  # a path of somebody's machine


def test_metadata_and_evaluation_results(trained: Path) -> None:
    card = ModelCard.load(trained / "README.md")
    final = read_metrics(trained)[-1]["final"]
    data = card.data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "transformers", "text-generation")
    assert data.datasets == ["hf-listops/listops"]
    assert {"listops", "gpt2"} <= set(data.tags)
    assert data.base_model is None
    assert data.model_name == f"{MIX}-d32-l2-h1-s0"
    results = {(r.dataset_config, r.dataset_split, r.metric_type): r for r in data.eval_results}
    assert {key: (result.metric_value, result.metric_name) for key, result in results.items()} == {
        (name, split, measure): (summary[measure], f"{measure.replace('_', ' ')}, 120 rows")
        for name, splits in final.items()
        for split, summary in splits.items()
        for measure in MEASURES
    }
    assert {(r.dataset_type, r.task_type) for r in data.eval_results} == {("hf-listops/listops", "text-generation")}
    assert str(card) == (trained / "README.md").read_text()  # as the clients write it again

    entries = parse_eval_result_entries(yaml.safe_load((trained / ".eval_results" / "listops.yaml").read_text()))
    assert {entry.task_id: entry.value for entry in entries} == {
        name: splits["test"]["exact_match"] for name, splits in final.items()
    }
    assert {entry.dataset_id for entry in entries} == {"hf-listops/listops"}
    assert "120 rows of the split test" in entries[0].notes


def test_a_card_is_a_function_of_what_the_checkpoint_holds(trained: Path) -> None:
    """What training wrote is what its files give again, whatever the times, the place and the user's matplotlib."""
    config, metrics, facts = inputs(trained)
    files = card_files(config, metrics, facts, REPO)
    assert set(files) == {"README.md", "learning_curve.png", ".eval_results/listops.yaml"}  # one task: no curriculum
    listed = read_manifest(trained)["files"]
    for name, content in files.items():
        assert (trained / name).read_bytes() == content
        assert name in listed
    assert not [name for name in listed if name.startswith(("steps", "state", ".half"))]
    assert files["learning_curve.png"].startswith(PNG)
    elsewhere = {**config, "output_dir": "elsewhere", "resume": True, "report_to": "trackio"}
    assert card_files(elsewhere, [{**line, "seconds": 0.0} for line in metrics], facts, REPO) == files
    script = (
        "import matplotlib, pathlib, sys\n"
        "from hf_listops.hub.pictures import learning_curve\n"
        "from hf_listops.hub.run_folder import read_config, read_metrics\n"
        "matplotlib.rcParams.update({'font.size': 30, 'figure.facecolor': 'red', 'savefig.bbox': 'tight'})\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "sys.stdout.buffer.write(learning_curve(read_config(folder), read_metrics(folder)))"
    )
    result = subprocess.run([sys.executable, "-c", script, str(trained)], capture_output=True, cwd=ROOT, check=True)
    assert result.stdout == files["learning_curve.png"]


def test_another_namespace(trained: Path) -> None:
    config, metrics, facts = inputs(trained)
    ours = card_files(config, metrics, facts, REPO)
    theirs = card_files(config, metrics, facts, REPO.replace("hf-listops", "me"))
    text = theirs["README.md"].decode()
    assert f'"me/listops-{MIX}-d32-l2-h1-s0"' in text
    assert "hf-listops/listops" not in text
    assert ModelCard(text).data.datasets == ["me/listops"]
    assert b"hf-listops/listops" not in theirs[".eval_results/listops.yaml"]
    assert theirs["learning_curve.png"] == ours["learning_curve.png"]


@pytest.mark.parametrize("where", [".", "steps/step-512"])
def test_the_three_lines_load_the_model(trained: Path, where: str) -> None:
    folder = trained / where
    text = (folder / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) == 3
    revision = "" if where == "." else ', revision="step-512"'
    assert code.count(f'from_pretrained("{REPO}"{revision})') == 2
    variables: dict[str, Any] = {}
    exec(code.replace(REPO, str(folder)).replace(revision, ""), variables)  # as if it were published
    (call,) = re.findall(r"`(model\.generate\(.*\))`", text)
    generated = variables["tokenizer"].decode(eval(call, variables)[0])
    (prompt,) = re.findall(r"asked `(.*?)`", text)
    assert generated.startswith(f"{prompt} ")
    name = f"{REPO}@step-512" if revision else REPO
    assert f'hf-listops solve {name} "{prompt.removesuffix(" =")}"' in text


def test_the_card_of_a_training_step(trained: Path) -> None:
    folder = trained / "steps" / "step-512"
    text = (folder / "README.md").read_text()
    evaluation = [line for line in read_metrics(trained) if "exact_match" in line and line["step"] <= 512][-1]
    assert evaluation["step"] == 450
    is_whole(ModelCard(text).text)
    assert f"# {MIX}-d32-l2-h1-s0, step 512\n" in text
    assert "at step 450, on at most 60 rows" in text
    rows = {task_of(row): (row["exact match"], row["answer accuracy"]) for row in the_table(text, "exact match")}
    assert rows == {name: tuple(three(evaluation[m][name]) for m in MEASURES) for name in evaluation["exact_match"]}
    assert not any("depth 1" in table[0] for table in tables(text))
    assert "it took 512 of at most\n900 updates" in text
    results = ModelCard(text).data.eval_results
    for measure in MEASURES:
        found = {r.dataset_config: r.metric_value for r in results if r.metric_type == measure}
        assert found == evaluation[measure]
    assert {r.metric_name.partition(", ")[2] for r in results} == {"at most 60 rows"}
    assert not list(folder.rglob("*.png"))
    assert not (folder / ".eval_results").exists()
    assert "![" not in text
    assert card_files(*inputs(folder), REPO) == {"README.md": text.encode()}


def test_the_card_of_a_curriculum(ramp: Path) -> None:
    text = (ramp / "README.md").read_text()
    is_whole(ModelCard(text).text)
    assert [(row["step"], row["share of the rows"]) for row in the_table(text, "share of the rows")] == [
        ("0", f"75 % `{PAIR}`, 25 % `{SUM}`"),
        ("6", f"100 % `{PAIR}`"),
        ("18", f"100 % `{SUM}`"),
    ]
    assert [row["operations"] for row in the_table(text, "trace")] == ["MAX+MED", "SUM"]
    assert [row["operation"] for row in the_table(text, "operation")] == ["MAX", "MED", "SUM"]
    assert "(curriculum.png)" in text
    assert "curriculum-learning" in ModelCard(text).data.tags
    final = read_metrics(ramp)[-1]["final"]
    deeper = [row for row in the_table(text, "depth 3") if row["split"] == "test_deeper"]
    assert len(deeper) == len(final) == 4
    for row in deeper:
        assert row["depth 3"] == three(final[task_of(row)]["test_deeper"]["exact_match_per_depth"]["3"])
        assert row["depth 1"] == "–"
    assert "Not measured" not in text
    files = card_files(*inputs(ramp), model_repo("hf-listops", "ramp-d8-l2-h1-s0"))
    assert files["curriculum.png"].startswith(PNG)
    for name, content in files.items():
        assert (ramp / name).read_bytes() == content
    step = (ramp / "steps" / "step-10" / "README.md").read_text()
    is_whole(ModelCard(step).text)
    assert the_table(step, "share of the rows") == the_table(text, "share of the rows")


def test_the_curriculum_picture_shows_the_weights(ramp: Path) -> None:
    """The part of a column of pixels that has SUM's colour is SUM's weight at that step."""
    picture = imread(BytesIO(curriculum_picture(read_config(ramp), 24)))
    pixels = picture[..., :3] * 255
    is_sum = (abs(pixels - (0.85 * np.array([0xD5, 0x5E, 0x00]) + 0.15 * 255)) < 3).all(axis=-1)
    is_dark = (pixels < 60).all(axis=-1)
    frame = np.flatnonzero(is_dark.sum(axis=0) > 150)  # the columns of the panel's left and right edge
    left, right = frame.min(), frame.max()
    edges = np.flatnonzero(is_dark[:, left:right].mean(axis=1) > 0.9)
    top, bottom = edges.min(), edges.max()
    for step, weight in ((3, 0.125), (6, 0.0), (9, 0.25), (12, 0.5), (15, 0.75), (21, 1.0)):
        column = is_sum[top:bottom, left + round(step / 24 * (right - left))]
        assert column.mean() == pytest.approx(weight, abs=0.03)


def test_a_model_that_starts_from_another(trained: Path) -> None:
    config, metrics, facts = inputs(trained)
    child, known = {**config, "base_model": f"{REPO}@step-512"}, {**facts, "base_model_commit": "c" * 40}
    text = card_files(child, metrics, known, REPO)["README.md"].decode()
    assert ModelCard(text).data.base_model == REPO
    from_a_folder = card_files({**config, "base_model": "outputs/mine"}, metrics, facts, REPO)["README.md"].decode()
    assert ModelCard(from_a_folder).data.base_model is None
    assert f"From the weights of `{REPO}` it took" in text
    assert "@step-512" not in text


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"dataset": "generated", "data_revision": None}, "The rows are endless rows of the generator."),
        ({"dataset": "me/listops", "data_revision": "abc"}, "The rows are the fixed rows of `me/listops` at `abc`."),
        ({"dataset": "me/listops", "data_revision": None}, "The rows are the fixed rows of `me/listops`."),
        ({"commit": None}, "| code | an installed package, no commit |"),
    ],
)
def test_where_it_comes_from(trained: Path, changed: dict[str, Any], says: str) -> None:
    config, metrics, facts = inputs(trained)
    text = card_files(config, metrics, {**facts, **changed}, REPO)["README.md"].decode()
    assert says in text
    is_whole(ModelCard(text).text)


def test_a_solved_run_and_an_older_manifest(trained: Path) -> None:
    config, metrics, facts = inputs(trained)
    del facts["generator_version"]
    solved = [*metrics[:-1], {**metrics[-1], "stopped": "solved"}]
    text = card_files(config, solved, facts, REPO)["README.md"].decode()
    assert "ended early" in text
    assert "generator version" not in text
    is_whole(ModelCard(text).text)
    assert "ended early" not in (trained / "README.md").read_text()


def test_wrong_input(trained: Path) -> None:
    config, metrics, facts = inputs(trained)
    with pytest.raises(ListOpsError, match="metrics: no line holds an evaluation; a right file"):
        card_files(config, [line for line in metrics if "loss" in line], facts, REPO)
    for wrong in ("listops-sum-mod10-depth2-d32-l2-h1-s0", "me/sum-mod10-depth2-d32-l2-h1-s0", "me/listops-sum", ""):
        with pytest.raises(ListOpsError, match=r"repo: .* a right one is 'hf-listops/listops-sum-mod10-depth2-d32"):
            card_files(config, metrics, facts, wrong)


def test_names_of_repos() -> None:
    run = RunName("ramp", 32, 2, 1, 0, "init0.1")
    assert model_repo("me", run) == model_repo("me", str(run)) == "me/listops-ramp-d32-l2-h1-s0-init0.1"
    assert parse_model_repo("me/listops-ramp-d32-l2-h1-s0-init0.1") == ("me", run)
    assert dataset_repo("hf-listops") == "hf-listops/listops"
    for namespace in ("", "a/b", "-a", "a b", "..", "a\n"):
        with pytest.raises(ListOpsError, match="a right one is 'hf-listops'"):
            model_repo(namespace, run)
    with pytest.raises(ListOpsError, match="no run's name"):
        model_repo("me", "sum")


def test_the_template_asks_for_what_it_is_given(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jinja renders a name it does not know as nothing."""
    given: dict[str, Any] = {}
    make = ModelCard.from_template

    def recording(card_data: Any, **fields: Any) -> ModelCard:
        given.update(fields)
        return make(card_data, **fields)

    monkeypatch.setattr(card_module.ModelCard, "from_template", recording)
    card_files(*inputs(trained), REPO)
    asked = jinja2.meta.find_undeclared_variables(jinja2.Environment().parse(template_path().read_text()))
    assert asked == set(given) - {"template_path"} | {"card_data"}


def test_where_the_template_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the source tree `model_cards/template.md`; in a wheel, into which pyproject.toml puts it, beside the module."""
    assert template_path() == ROOT / "model_cards" / "template.md"
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "model_cards/template.md" in wheel["only-include"]
    installed = tmp_path / wheel["sources"]["model_cards"]
    installed.mkdir(parents=True)
    shutil.copy(ROOT / "model_cards" / "template.md", installed)
    monkeypatch.setattr(card_module, "__file__", str(installed / "card.py"))
    assert template_path() == installed / "template.md"


def test_every_operation_has_a_colour_of_its_own() -> None:
    assert list(COLORS) == list(OPERATIONS)
    assert len(set(COLORS.values())) == len(COLORS)
