"""Sublayers against a forward pass written out in NumPy; ablation against other weights; roles against texts."""

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from scipy.stats import ttest_1samp, ttest_ind
from transformers import GPT2Config, GPT2LMHeadModel

from hf_listops.analysis import embeddings
from hf_listops.analysis.curves import learning_curves
from hf_listops.analysis.history import load_histories
from hf_listops.analysis.inside import alone_rows, counterpart, group_name, load_subjects
from hf_listops.analysis.outputs import read_numbers
from hf_listops.analysis.reliance import (
    Comparison,
    Mean,
    Reliance,
    analyze,
    compare,
    mean_interval,
    reliance,
    welch_interval,
)
from hf_listops.analysis.reliance_hooks import (
    KINDS,
    Place,
    attention_by_role,
    mean_ablation,
    sublayer_statistics,
)
from hf_listops.analysis.teacher_forced import accuracy
from hf_listops.cli import main
from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.accuracy import score
from hf_listops.evaluation.checkpoint import load_checkpoint
from hf_listops.language import Task, generate
from hf_listops.training.config import RunConfig
from hf_listops.training.evaluations import Evaluations

TASK = Task(("SUM",))


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(TASK.vocabulary), n_positions=32, n_embd=8, n_layer=2, n_head=2, initializer_range=0.3,
        activation_function="gelu", resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="module")
def rows() -> TokenMatrix:
    return TokenMatrix.from_rows(generate(TASK, "test", 0, 0, 40))


def by_hand(model: GPT2LMHeadModel, ids: np.ndarray) -> tuple[dict[Place, Any], dict[Place, Any], list[np.ndarray]]:
    """Streams and outputs of each sublayer for one row of T tokens, `(T, D)`, and the attention, `(H, T, T)` a layer."""
    w = {name: of.detach().double().numpy() for name, of in model.named_parameters()}
    length, width, heads = len(ids), 8, 2

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scaled = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    x = w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][:length]
    streams: dict[Place, Any] = {}
    outputs: dict[Place, Any] = {}
    attentions = []
    for layer in range(2):
        block = f"transformer.h.{layer}"
        q, k, v = np.split(linear(norm(x, f"{block}.ln_1"), f"{block}.attn.c_attn"), 3, axis=1)
        mixed, weights = [], []
        for head in np.split(np.arange(width), heads):
            logits = q[:, head] @ k[:, head].T / math.sqrt(width / heads)
            logits[np.triu_indices(length, 1)] = -np.inf
            shares = np.exp(logits - logits.max(axis=1, keepdims=True))
            weights.append(shares / shares.sum(axis=1, keepdims=True))
            mixed.append(weights[-1] @ v[:, head])
        attentions.append(np.stack(weights))
        streams[layer, "attention"] = x
        outputs[layer, "attention"] = linear(np.concatenate(mixed, axis=1), f"{block}.attn.c_proj")
        x = x + outputs[layer, "attention"]
        inner = linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        streams[layer, "feed-forward"] = x
        outputs[layer, "feed-forward"] = linear(inner, f"{block}.mlp.c_proj")
        x = x + outputs[layer, "feed-forward"]
    return streams, outputs, attentions


def test_means_and_norms_are_those_of_a_forward_pass_by_hand(model: GPT2LMHeadModel, rows: TokenMatrix) -> None:
    means, norms = sublayer_statistics(model, rows)
    all_outputs: dict[Place, list[Any]] = {place: [] for place in means}
    all_ratios: dict[Place, list[float]] = {place: [] for place in means}
    for row in range(len(rows)):
        streams, outputs, _ = by_hand(model, rows.ids[row, : rows.lengths[row]].astype(int))
        for place in means:
            all_outputs[place].append(outputs[place])
            for at in range(rows.prompt_lengths[row] - 1, rows.lengths[row] - 1):
                ratio = np.linalg.norm(outputs[place][at]) / np.linalg.norm(streams[place][at])
                all_ratios[place].append(float(ratio))
    assert set(means) == {(layer, kind) for layer in range(2) for kind in KINDS}
    for place, mean in means.items():
        np.testing.assert_allclose(mean.numpy(), np.concatenate(all_outputs[place]).mean(axis=0), atol=1e-5)
        assert norms[place] == pytest.approx(np.mean(all_ratios[place]), rel=1e-4)


def test_attention_by_role_is_that_of_texts(model: GPT2LMHeadModel, rows: TokenMatrix) -> None:
    found = attention_by_role(model, rows)
    totals: list[dict[str, float]] = [{}, {}]
    for row in range(len(rows)):
        ids = rows.ids[row, : rows.lengths[row]].astype(int)
        words = [TASK.vocabulary[place] for place in ids]
        own = len(words) - 3
        assert words[own] == "="
        start = max((place + 1 for place in range(own) if words[place] == "="), default=0)
        arguments = 0
        for place in range(own + 1):
            if place == own:
                role = "last ="
            elif place < start:
                role = "earlier lines"
            elif words[place].isdigit():
                arguments += 1
                role = f"argument {arguments}"
            else:
                role = "bracket" if words[place] == "]" else "operation"
            for layer, weights in enumerate(by_hand(model, ids)[2]):
                share = weights[:, own, place].mean() / len(rows)
                totals[layer][role] = totals[layer].get(role, 0) + float(share)
    for shares, expected in zip(found, totals, strict=True):
        assert shares == pytest.approx(expected, abs=1e-5)
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert set(found[0]) == {
        "operation",
        "argument 1",
        "argument 2",
        "argument 3",
        "bracket",
        "last =",
        "earlier lines",
    }
    assert model.config._attn_implementation == "sdpa"  # as before


@torch.no_grad()
def test_ablation_is_a_sublayer_without_weights_whose_bias_is_the_mean(rows: TokenMatrix) -> None:
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=len(TASK.vocabulary), n_positions=32, n_embd=8, n_layer=2, n_head=2, initializer_range=0.3,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    ids = torch.from_numpy(rows.ids.astype(np.int64))
    before = model(ids).logits
    means, _ = sublayer_statistics(model, rows)
    for place, mean in means.items():
        with mean_ablation(model, {place: mean}):
            hooked = model(ids).logits
        assert not torch.allclose(hooked, before, atol=1e-3)
        assert torch.equal(model(ids).logits, before)  # the hooks are gone
        block: Any = model.transformer.h[place[0]]
        projection = (block.attn if place[1] == "attention" else block.mlp).c_proj
        weight, bias = projection.weight.clone(), projection.bias.clone()
        projection.weight.zero_()
        projection.bias.copy_(mean)
        torch.testing.assert_close(model(ids).logits, hooked)
        # A sublayer that puts out a constant loses nothing.
        own_means, _ = sublayer_statistics(model, rows)
        torch.testing.assert_close(own_means[place], mean)
        with mean_ablation(model, {place: own_means[place]}):
            torch.testing.assert_close(model(ids).logits, hooked)
        projection.weight.copy_(weight)
        projection.bias.copy_(bias)
    with pytest.raises(RuntimeError), mean_ablation(model, means):  # removed after an error too
        raise RuntimeError
    assert torch.equal(model(ids).logits, before)


def test_exact_match_is_that_of_greedy_decoding(trained: Path) -> None:
    checkpoint = load_checkpoint(str(trained))
    rows = TokenMatrix.from_rows(generate(checkpoint.task.alone("MAX"), "test", 0, 0, 200))
    greedy, forced = score(checkpoint.lean, rows), accuracy(checkpoint.model, rows)
    assert 0 < greedy.exact_match < 1
    assert forced.exact_match == greedy.exact_match
    assert forced.answer_accuracy >= forced.exact_match
    assert forced.loss > 0


def test_one_model(trained: Path) -> None:
    subject = load_subjects([str(trained)])[0]
    found = reliance(subject, "MAX", 100)
    assert (found.group, found.task, found.rows) == ("mixed MAX mod 10, n_embd 32, 900 steps", "max-mod10-depth2", 100)
    assert [(of.layer, of.kind) for of in found.sublayers] == [
        (layer, kind) for layer in (1, 2, None) for kind in ("attention", "feed-forward")
    ]
    lost = {(of.layer, of.kind): of.exact_match_lost for of in found.sublayers}
    differences = [lost[layer, "feed-forward"] - lost[layer, "attention"] for layer in (1, 2)]
    assert found.contrast == pytest.approx(sum(differences) / 2)
    assert lost[None, "attention"] == pytest.approx(found.intact.exact_match, abs=0.05)  # nothing without attention
    alone = compare([found])
    assert alone.differences == ()
    assert all(mean.low is None for mean in alone.groups[0].means.values())
    assert alone.groups[0].means["exact match"].value == found.intact.exact_match


def test_intervals_are_those_of_scipy() -> None:
    first, second = [0.9, 0.7, 0.8], [0.1, 0.4]
    one = ttest_1samp(first, 0).confidence_interval()
    mean = mean_interval(first)
    assert (mean.low, mean.high) == pytest.approx((one.low, one.high))
    two = ttest_ind(first, second, equal_var=False).confidence_interval()
    welch = welch_interval(first, second)
    assert (welch.value, welch.low, welch.high) == pytest.approx((0.55, two.low, two.high))
    assert welch_interval([1, 1], [0, 0]) == Mean(1, 1, 1)


GROUPS = ["mixed SUM mod 10, n_embd 32, 900 steps", "pure SUM mod 10, n_embd 8, 120 steps"]


def test_groups_side_by_side(trained: Path, tiny_run: Path) -> None:
    found = analyze([str(trained), str(tiny_run)], rows=60)
    assert [group.name for group in found.groups] == GROUPS
    assert all(isinstance(model, Reliance) for model in found.models)
    doubled = compare([*found.models, *found.models])  # two of each, all alike: an interval of no width
    assert doubled.groups[0].means["exact match"].low == doubled.groups[0].means["exact match"].value
    assert doubled.differences == ()  # of two sizes
    mixed = dataclasses.replace(found.models[0], group="mixed SUM mod 10, n_embd 8, 120 steps")
    pure = found.models[1]
    (difference,) = compare([mixed, pure, mixed, pure]).differences
    assert (difference.pure, difference.mixed) == (pure.group, mixed.group)
    assert difference.contrast.value == pytest.approx(pure.contrast - mixed.contrast)
    assert difference.exact_match.value == pytest.approx(pure.intact.exact_match - mixed.intact.exact_match)
    norms = {(of.layer, of.kind): of.norm for of in pure.sublayers if of.norm is not None}
    of_pure = sum(norms[layer, "feed-forward"] - norms[layer, "attention"] for layer in (1, 2)) / 2
    assert pure.norm_contrast == pytest.approx(of_pure)
    assert difference.norm.value == pytest.approx(of_pure - mixed.norm_contrast)


def test_wrong_input(tiny_run: Path) -> None:
    with pytest.raises(ListOpsError, match="never saw 'MAX'; it was trained on SUM"):
        analyze([str(tiny_run)], "MAX")
    with pytest.raises(ListOpsError, match="is named twice"):
        analyze([str(tiny_run), str(tiny_run)])
    with pytest.raises(ListOpsError, match="rows: 0 is too few"):
        analyze([str(tiny_run)], rows=0)
    with pytest.raises(ListOpsError, match=r"above: 1.5 is no share of the rows; a right one is 0.9"):
        analyze([str(tiny_run)], above=1.5)
    with pytest.raises(ListOpsError, match=r"no model solves 0.9 of the rows of SUM; the best solves 0.0"):
        analyze([str(tiny_run)], rows=20, above=0.9)


def test_a_diverged_model(tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "diverged"
    shutil.copytree(tiny_run, folder)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {key: value * torch.nan for key, value in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ListOpsError, match=r"the loss of '.*diverged' is no number"):
        analyze([str(folder)], rows=20)


def test_models_of_less_accuracy_are_left_out(trained: Path, tiny_run: Path) -> None:
    both = [str(trained), str(tiny_run)]
    solved = [model.intact.exact_match for model in analyze(both, rows=60).models]
    assert solved[0] != solved[1]
    found = analyze(both, rows=60, above=max(solved))
    assert [model.intact.exact_match for model in found.models] == [max(solved)]
    assert found.left_out == {GROUPS[solved.index(min(solved))]: 1}


def test_what_a_model_was_trained_on(tiny_run: Path, tmp_path: Path) -> None:
    """A curriculum's operations count although its config names the last task alone; no task at all is an error."""
    folder = tmp_path / "curriculum"
    shutil.copytree(tiny_run, folder)
    knots = [
        {"step": 0, "mix": {"max-med-mod10-depth2": 1, "min-mod10-depth2": 0}},
        {"step": 9, "mix": {"sum-mod10-depth2": 1}},
    ]
    run = yaml.safe_load((folder / "run.yaml").read_text()) | {"task": None, "curriculum": knots}
    (folder / "run.yaml").write_text(yaml.safe_dump(run | {"variant": "init0.1"}))
    varied = load_subjects([str(folder)])[0]
    assert group_name(varied, "SUM") == "mixed SUM mod 10, init0.1"
    assert counterpart("mixed SUM mod 10, init0.1") == "pure SUM mod 10, init0.1"
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    subject = load_subjects([str(folder)])[0]
    assert subject.operations == ("MAX", "MED", "SUM")
    assert group_name(subject, "SUM") == "mixed SUM mod 10"
    assert reliance(subject, "MAX", 20).task == "max-mod10-depth2"  # its last task has no MAX
    (folder / "run.yaml").unlink()
    config = json.loads((folder / "config.json").read_text())
    del config["listops_task"]
    (folder / "config.json").write_text(json.dumps(config))
    assert load_subjects([str(folder)])[0].operations == ()
    with pytest.raises(ListOpsError, match=r"never saw 'SUM'; it was trained on what its folder does not say"):
        analyze([str(folder)])
    (group,) = embeddings.analyze([str(folder)], permutations=19, draws=9).groups
    assert (group.group, group.exact_match) == ("unknown mod 10", ())


def test_a_group_shares_its_layers(tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "one-layer"
    shutil.copytree(tiny_run, folder)
    config = GPT2Config(**(load_checkpoint(str(tiny_run)).model.config.to_dict() | {"n_layer": 1}))
    GPT2LMHeadModel(config).save_pretrained(folder)
    alike = r"\(2 layers, 1 heads, test .*\) and .* \(1 layers, 1 heads, test .*\) are of one group"
    with pytest.raises(ListOpsError, match=alike):
        analyze([str(tiny_run), str(folder)])


def test_one_model_by_two_names_and_the_steps_of_one_run(tiny_run: Path) -> None:
    with pytest.raises(ListOpsError, match="have the same weights; give each model once"):
        load_subjects([str(tiny_run), f"{tiny_run}/"])
    subjects = load_subjects([str(tiny_run), str(tiny_run / "steps" / "step-60")])
    assert [group_name(of, "SUM") for of in subjects] == ["pure SUM mod 10", "pure SUM mod 10, step 60"]
    with pytest.raises(ListOpsError, match="there is none to look into"):
        load_subjects([])


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("variant", "a/b", "variant: 'a/b' cannot stand in a run's name"),
        ("variant", "$\\bad$", "cannot stand in a run's name"),
        ("variant", "v" * 90, "has a name of 1.. characters; 96 are the most"),
        ("seed", "many", "is no run's config"),
        ("max_steps", None, "is no run's config"),
        ("curriculum", [{"step": 0}], "is no run's config"),
        ("curriculum", [{"step": 0, "mix": "sum"}], "is no run's config"),
    ],
)
def test_a_config_of_a_stranger(tiny_run: Path, tmp_path: Path, field: str, value: str, says: str) -> None:
    folder = tmp_path / "theirs"
    shutil.copytree(tiny_run, folder)
    run = yaml.safe_load((folder / "run.yaml").read_text()) | {field: value}
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    for load in (load_subjects, load_histories):
        with pytest.raises(ListOpsError, match=says):
            load([str(folder)])


@pytest.mark.parametrize("content", [b"", b"- a list", b"task: [", b"\xff"])
def test_a_broken_config(tiny_run: Path, tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "theirs"
    shutil.copytree(tiny_run, folder)
    (folder / "run.yaml").write_bytes(content)
    for load in (load_subjects, load_histories, lambda names: learning_curves(names, tmp_path / "out")):
        with pytest.raises(ListOpsError, match=r"the run\.yaml of '.*theirs' holds no fields"):
            load([str(folder)])


def test_rows_are_the_published_test_split(trained: Path) -> None:
    """By another route: the final evaluation of training, which decodes."""
    subject = load_subjects([str(trained)])[0]
    config = RunConfig(task="max-med-sum-mod10-depth2", dataset="generated")
    final = Evaluations(config).final(subject.checkpoint.lean)
    for operation in ("MAX", "SUM"):
        rows = alone_rows(subject, operation)
        assert len(rows) == len(np.unique(rows.ids, axis=0)) == 2000
        expected = final[f"{operation.lower()}-mod10-depth2"]["test"]["exact_match"]
        assert accuracy(subject.checkpoint.model, rows).exact_match == pytest.approx(expected, abs=1e-9)
    few = dataclasses.replace(subject, checkpoint=dataclasses.replace(subject.checkpoint, task=Task(("MAX",), 10, 1)))
    assert 40 < len(alone_rows(few, "MAX")) < 60  # all that there are
    tiny = dataclasses.replace(subject, checkpoint=dataclasses.replace(subject.checkpoint, task=Task(("SUM",), 2, 1)))
    with pytest.raises(ListOpsError, match="'sum-mod2-depth1' has no test rows"):
        alone_rows(tiny, "SUM")


def test_command(trained: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["analyze", "reliance", str(trained), str(tiny_run), "--rows", "60", "--out", str(out)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert (out / "reliance.md").read_text() in printed
    assert "mixed SUM mod 10" in printed
    assert "needs two models or more of each" in printed
    assert read_numbers(Comparison, out / "reliance.json").groups[0].name == GROUPS[0]
    assert {path.name for path in out.iterdir()} == {f"reliance.{kind}" for kind in ("png", "svg", "json", "md")}
