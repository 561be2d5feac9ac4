"""Reliance measured by other hooks: the same numbers under TransformerLens 4's bridge (extra `interp`)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hf_listops.analysis.inside import Subject, alone_rows, load_subjects
from hf_listops.analysis.reliance import Reliance, reliance
from hf_listops.data.token_matrix import TokenMatrix

ROWS = 120
ATTENTION, FEED_FORWARD = "blocks.{}.hook_attn_out", "blocks.{}.hook_mlp_out"
BEFORE = {ATTENTION: "blocks.{}.hook_resid_pre", FEED_FORWARD: "blocks.{}.hook_resid_mid"}
KIND = {ATTENTION: "attention", FEED_FORWARD: "feed-forward"}


@pytest.fixture(scope="module")
def subject(trained: Path) -> Subject:
    return load_subjects([str(trained)])[0]


@pytest.fixture(scope="module")
def found(subject: Subject) -> Reliance:
    return reliance(subject, "MAX", ROWS)


@pytest.fixture(scope="module")
def rows(subject: Subject) -> TokenMatrix:
    return alone_rows(subject, "MAX", ROWS)


@pytest.fixture(scope="module")
def bridge(trained: Path, found: Reliance) -> Any:
    """Of a model of its own, since the bridge replaces parts of it."""
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    model = load_subjects([str(trained)])[0].checkpoint.model
    return build_bridge_from_module(model, "GPT2LMHeadModel", hf_config=model.config)


def each_row(rows: TokenMatrix) -> list[tuple[Tensor, slice]]:
    """Ids of one row, `(1, T)`, and the positions that predict its completion."""
    found = []
    for row in range(len(rows)):
        length, asked = int(rows.lengths[row]), int(rows.prompt_lengths[row]) - 1
        found.append((torch.from_numpy(rows.ids[row, :length].astype(np.int64))[None], slice(asked, length - 1)))
    return found


@torch.no_grad()
def test_norms_ablation_and_attention_are_those_of_transformer_lens(
    bridge: Any, found: Reliance, rows: TokenMatrix
) -> None:
    n_layer = len(found.attention)
    outputs: dict[str, list[Tensor]] = {}
    ratios: dict[str, list[Tensor]] = {}
    looks_at_itself = [[] for _ in range(n_layer)]  # type: list[list[float]]
    for ids, asked in each_row(rows):
        _, cache = bridge.run_with_cache(ids)
        for layer in range(n_layer):
            for name, before in BEFORE.items():
                output, stream = cache[name.format(layer)][0], cache[before.format(layer)][0]
                outputs.setdefault(name.format(layer), []).append(output)
                ratios.setdefault(name.format(layer), []).append(
                    output[asked].norm(dim=-1) / stream[asked].norm(dim=-1)
                )
            answers = ids.shape[1] - 3  # the last `=`
            pattern = cache[f"blocks.{layer}.attn.hook_pattern"][0]  # (H, T, T)
            looks_at_itself[layer].append(float(pattern[:, answers, answers].mean()))
    ours = {(of.layer, of.kind): of for of in found.sublayers}
    for layer in range(n_layer):
        assert np.mean(looks_at_itself[layer]) == pytest.approx(found.attention[layer]["last ="], abs=1e-3)
        for name, kind in KIND.items():
            hook = name.format(layer)
            one = ours[layer + 1, kind]  # type: ignore[index]
            assert float(torch.cat(ratios[hook]).mean()) == pytest.approx(one.norm, abs=1e-3)
            mean = torch.cat(outputs[hook]).mean(dim=0)
            exact = []
            loss = tokens = 0.0
            for ids, asked in each_row(rows):
                logits = bridge.run_with_hooks(ids, fwd_hooks=[(hook, lambda of, hook, mean=mean: mean.expand_as(of))])
                targets = ids[0, asked.start + 1 : asked.stop + 1]
                exact.append(bool((logits[0, asked].argmax(dim=-1) == targets).all()))
                loss += float(torch.nn.functional.cross_entropy(logits[0, asked], targets, reduction="sum"))
                tokens += len(targets)
            assert np.mean(exact) == pytest.approx(found.intact.exact_match - one.exact_match_lost, abs=1e-3)
            assert loss / tokens == pytest.approx(found.intact.loss + one.loss_added, abs=1e-3)
