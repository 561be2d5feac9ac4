"""The model of a run, and its parameters laid into two flat tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.activations import ACT2FN

from hf_listops.errors import ListOpsError, did_you_mean
from hf_listops.evaluation.checkpoint import load_checkpoint
from hf_listops.language.task import EOS, PAD
from hf_listops.training.config import RunConfig


def make_model(config: RunConfig) -> GPT2LMHeadModel:
    """A `GPT2LMHeadModel` with the run's sizes, its weights drawn from the run's seed, or those of its base model."""
    if config.activation_function not in ACT2FN:
        hint = did_you_mean(config.activation_function, ACT2FN) or "; the default is 'gelu'"
        raise ListOpsError(f"activation_function: transformers has no {config.activation_function!r}{hint}")
    last = config.tasks[-1]
    eos, pad = last.vocabulary.index(EOS), last.vocabulary.index(PAD)
    torch.manual_seed(config.seed)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(last.vocabulary),
            n_positions=config.positions,
            n_embd=config.n_embd,
            n_layer=config.n_layer,
            n_head=config.n_head,
            initializer_range=config.initializer_range,
            activation_function=config.activation_function,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=eos,
            eos_token_id=eos,
            pad_token_id=pad,
            listops_task=last.name,
        )
    )
    model.generation_config.max_length = config.positions
    model.generation_config.do_sample = False
    if config.base_model is not None:
        _start_from(model, config.base_model)
    return model


def _start_from(model: GPT2LMHeadModel, name: str) -> None:
    """Gives a model the weights of another one. Raises `ListOpsError` unless both have the same shapes and symbols."""
    base = load_checkpoint(name).model
    for field in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "activation_function"):
        ours, theirs = getattr(model.config, field), getattr(base.config, field)
        if ours != theirs:
            raise ListOpsError(f"base_model: {name!r} has {field} {theirs}, the run {ours}; both must be alike")
    model.load_state_dict(base.state_dict())


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """All parameters (the tied embedding once), and those outside the token and position embeddings."""
    total = sum(parameter.numel() for parameter in model.parameters())
    embeddings = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Embedding))
    return total, total - embeddings


class FlatParameters:
    """A model's parameters and gradients as views into two flat tensors: matrices, which decay, and the rest.

    So clipping, AdamW and the sum over processes each work on two tensors, whatever the number of layers.
    """

    def __init__(self, model: nn.Module) -> None:
        every = list(model.parameters())
        self.matrices = self._flatten([parameter for parameter in every if parameter.ndim >= 2])
        self.vectors = self._flatten([parameter for parameter in every if parameter.ndim < 2])

    @property
    def both(self) -> list[nn.Parameter]:
        return [self.matrices, self.vectors]

    @property
    def gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.both if parameter.grad is not None]

    @staticmethod
    def _flatten(parameters: list[nn.Parameter]) -> nn.Parameter:
        flat = nn.Parameter(torch.cat([parameter.detach().reshape(-1) for parameter in parameters]))
        flat.grad = torch.zeros_like(flat)
        start = 0
        for parameter in parameters:
            end = start + parameter.numel()
            parameter.data = flat.data[start:end].view_as(parameter)
            parameter.grad = flat.grad[start:end].view_as(parameter)
            start = end
        return flat
