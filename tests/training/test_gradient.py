import copy
import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator

from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.evaluation.forward import LeanGPT2
from hf_listops.language import Task, generate
from hf_listops.training.config import RunConfig
from hf_listops.training.gradient import HandwrittenGradient
from hf_listops.training.model import FlatParameters, count_parameters, make_model
from hf_listops.training.step import LossAndGradient, as_tensors, count_targets

TASK = "max-med-sum-mod10-depth2"


def batch(count: int = 48) -> TokenMatrix:
    return TokenMatrix.from_rows(generate(Task.from_name(TASK), "train", 0, 0, count))


@pytest.mark.parametrize(("n_embd", "n_layer", "n_head"), [(4, 1, 1), (16, 2, 1), (32, 3, 4), (48, 2, 2)])
@pytest.mark.parametrize("loss_on", ["completion", "all"])
def test_by_hand_equals_autograd_of_the_library(n_embd: int, n_layer: int, n_head: int, loss_on: str) -> None:
    """Loss and every gradient against `GPT2LMHeadModel`'s own forward and `backward`, on padded rows, twice over."""
    config = RunConfig(
        task=TASK, n_embd=n_embd, n_layer=n_layer, n_head=n_head, initializer_range=0.2, loss_on=loss_on
    )
    model = make_model(config)
    reference = copy.deepcopy(model)
    FlatParameters(model)
    by_hand = HandwrittenGradient(model)
    for rows in (batch(48), batch(7)):  # the second adds to the first
        ids, asked, targets = as_tensors(rows, loss_on, torch.device("cpu"))
        assert len(targets) == count_targets(rows, loss_on)
        labels = ids.clone()
        places = np.arange(ids.shape[1])
        ignored = (places >= rows.lengths[:, None]) | (
            places < (rows.prompt_lengths[:, None] if loss_on == "completion" else 0)
        )
        labels[torch.from_numpy(ignored)] = -100
        expected = reference(input_ids=ids, labels=labels).loss
        expected.backward()
        assert by_hand(ids, asked, targets, len(targets)).item() == pytest.approx(expected.item(), abs=1e-5)
    for (name, ours), theirs in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(
            ours.grad, theirs.grad, rtol=1e-4, atol=2e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_the_lean_forward_equals_the_librarys(activation: str) -> None:
    model = make_model(
        RunConfig(task=TASK, n_embd=24, n_head=3, initializer_range=0.3, activation_function=activation)
    )
    ids, asked, _ = as_tensors(batch(), "all", torch.device("cpu"))
    with torch.no_grad():
        torch.testing.assert_close(
            LeanGPT2(model)(ids, asked), model(ids).logits.flatten(0, 1)[asked], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("fields", [{"activation_function": "relu"}, {"bf16": True}, {"torch_compile": True}])
def test_autograd_where_by_hand_does_not_hold(fields: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    # Traced as by default, but not handed to the C++ compiler, which takes minutes.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    config = RunConfig(task=TASK, n_embd=16, n_layer=1, **fields)  # type: ignore[arg-type]
    model = make_model(config)
    reference = copy.deepcopy(model)
    FlatParameters(model)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16" if config.bf16 else "no")
    try:
        step = LossAndGradient(model, config, accelerator)
        assert step.by_hand is None
        rows = batch()
        ids, asked, targets = as_tensors(rows, "completion", torch.device("cpu"))
        loss = step(rows, len(targets))
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            logits = LeanGPT2(reference)(ids, asked)
        expected = F.cross_entropy(logits.float(), targets)
        expected.backward()
        assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
        for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=2e-6)
        if config.bf16:
            assert loss.item() != F.cross_entropy(reference(ids).logits.flatten(0, 1)[asked], targets).item()
    finally:
        accelerator.state._reset_state(reset_partial_state=True)


def test_parameter_counts_and_flat_views() -> None:
    model = make_model(RunConfig(task=TASK, n_embd=32))
    total, non_embedding = count_parameters(model)
    assert total == 27_072
    assert total - non_embedding == (24 + 26) * 32
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    flat = FlatParameters(model)
    assert flat.matrices.numel() + flat.vectors.numel() == total
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    with torch.no_grad():
        flat.matrices.add_(1.0)
    assert torch.equal(model.transformer.wte.weight, before["transformer.wte.weight"] + 1.0)
    assert model.lm_head.weight is model.transformer.wte.weight
    assert torch.equal(model.transformer.ln_f.weight, before["transformer.ln_f.weight"])


def test_the_smallest_model() -> None:
    total, _ = count_parameters(make_model(RunConfig(task="sum-mod10-depth2", n_embd=4, n_layer=1)))
    assert total < 1000


def test_the_seed_decides_the_initial_weights() -> None:
    one, same, other = (make_model(RunConfig(task=TASK, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(one.lm_head.weight, same.lm_head.weight)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    spread = make_model(RunConfig(task=TASK, initializer_range=0.1)).transformer.h[0].mlp.c_fc.weight.std().item()
    assert spread == pytest.approx(0.1, rel=0.05)
