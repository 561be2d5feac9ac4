"""Loss and gradient of a small GPT-2 in one pass over its weights, written out by hand.

For tiny models the bookkeeping of autograd costs as much as the arithmetic. This computes the same loss and the same
gradient as `GPT2LMHeadModel` and `loss.backward()` to float32 rounding (tested against both), in about 60 operations a
layer less. It holds for float32, exact GELU and no dropout; `training.step` uses autograd for everything else.

Shapes: B rows, T tokens, M = B * T, D `n_embd`, H heads, N asked positions, V symbols. `d_x` is the gradient of the loss
with respect to `x`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from hf_listops.evaluation.forward import Block

aten = torch.ops.aten


class _Norm:
    """A layer norm: its weights and their gradients, taken out of their module once."""

    def __init__(self, norm: torch.nn.LayerNorm) -> None:
        self.weight, self.bias, self.epsilon = norm.weight.detach(), norm.bias.detach(), norm.eps
        self.d_weight, self.d_bias = _grad(norm.weight), _grad(norm.bias)
        self.shape = self.weight.shape

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The output, and the mean and inverse deviation that `backward` needs."""
        return torch.native_layer_norm(x, self.shape, self.weight, self.bias, self.epsilon)

    def backward(self, d_out: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
        d_x, d_weight, d_bias = aten.native_layer_norm_backward(
            d_out, x, self.shape, mean, rstd, self.weight, self.bias, [True, True, True]
        )
        self.d_weight.add_(d_weight)
        self.d_bias.add_(d_bias)
        return d_x


class _Linear:
    """A GPT-2 `Conv1D`, `x @ weight + bias`: its weights and their gradients."""

    def __init__(self, linear: Any) -> None:
        self.weight, self.bias = linear.weight.detach(), linear.bias.detach()
        self.d_weight, self.d_bias = _grad(linear.weight), _grad(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight)

    def backward(self, d_out: Tensor, x: Tensor, ones: Tensor) -> Tensor:
        self.d_weight.addmm_(x.t(), d_out)
        self.d_bias.addmv_(d_out.t(), ones[: d_out.shape[0]])
        return d_out @ self.weight.t()


class _Layer:
    """The weights of one block, and what its forward pass keeps for the way back."""

    norm_1_kept: tuple[Tensor, Tensor, Tensor]  # input, mean, inverse deviation
    h_1: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    attention: Tensor  # (B * H, T, T)
    heads: Tensor
    norm_2_kept: tuple[Tensor, Tensor, Tensor]
    h_2: Tensor
    inner: Tensor
    activated: Tensor

    def __init__(self, block: Block) -> None:
        self.norm_1, self.norm_2 = _Norm(block.ln_1), _Norm(block.ln_2)
        self.to_qkv, self.from_heads = _Linear(block.attn.c_attn), _Linear(block.attn.c_proj)
        self.to_inner, self.from_inner = _Linear(block.mlp.c_fc), _Linear(block.mlp.c_proj)


class HandwrittenGradient:
    """Computes losses of a model and adds their gradients to its parameters' `.grad`.

    Args:
        model (`GPT2LMHeadModel`): float32, `activation_function="gelu"`, dropout 0. Its parameters and their `.grad` must
            stay the tensors that they are now.
    """

    def __init__(self, model: GPT2LMHeadModel) -> None:
        gpt2 = model.transformer
        self.wte, self.wpe = gpt2.wte.weight.detach(), gpt2.wpe.weight.detach()
        self.d_wte, self.d_wpe = _grad(gpt2.wte.weight), _grad(gpt2.wpe.weight)
        self.layers = [_Layer(block) for block in gpt2.h]
        self.norm_f = _Norm(gpt2.ln_f)
        self.n_head: int = model.config.n_head
        n_positions = model.config.n_positions
        self.mask = self.wte.new_full((n_positions, n_positions), -math.inf).triu(1)
        self.ones = self.wte.new_ones(0)

    @torch.no_grad()
    def __call__(self, ids: Tensor, asked: Tensor, targets: Tensor, divisor: int) -> Tensor:
        """Adds the gradient of the loss to every parameter's `.grad`.

        Args:
            ids (`Tensor`): token ids, shape `(B, T)`, padded on the right.
            asked (`Tensor`): places in the flattened `(B * T)` whose next token is a target, shape `(N,)`.
            targets (`Tensor`): those next tokens, shape `(N,)`.
            divisor (`int`): what the summed cross-entropy is divided by.

        Returns:
            `Tensor`: the loss, a scalar.
        """
        batch, length = ids.shape
        if len(self.ones) < batch * length:
            self.ones = self.wte.new_ones(batch * length)
        x = (self.wte[ids] + self.wpe[:length]).view(batch * length, -1)
        last = self.layers[-1]
        for layer in self.layers:
            x = self._forward(layer, x, batch, length, asked if layer is last else None)
        hidden, *statistics = self.norm_f.forward(x)
        log_probabilities = torch.log_softmax(hidden @ self.wte.t(), dim=-1)
        chosen = targets[:, None]
        loss = log_probabilities.gather(1, chosen).sum().div_(-divisor)

        d_logits = log_probabilities.exp_().scatter_add_(1, chosen, torch.full_like(chosen, -1, dtype=x.dtype))
        d_logits.div_(divisor)
        self.d_wte.addmm_(d_logits.t(), hidden)
        d_x = self.norm_f.backward(d_logits @ self.wte, x, *statistics)
        for layer in reversed(self.layers):
            d_x = self._backward(layer, d_x, batch, asked if layer is last else None)
        self.d_wpe[:length].add_(d_x.view(batch, length, -1).sum(0))
        self.d_wte.index_add_(0, ids.view(-1), d_x)
        return loss

    def _split_heads(self, x: Tensor, batch: int) -> Tensor:
        """`(B * H, T, D / H)` of `(B * T, D)`."""
        if self.n_head == 1:
            return x.view(batch, -1, x.shape[1])
        return x.view(batch, -1, self.n_head, x.shape[1] // self.n_head).transpose(1, 2).flatten(0, 1)

    def _join_heads(self, x: Tensor, batch: int) -> Tensor:
        """`(B * T, D)` of `(B * H, T, D / H)`."""
        if self.n_head == 1:
            return x.reshape(-1, x.shape[2])
        x = x.view(batch, self.n_head, *x.shape[1:]).transpose(1, 2)
        return x.reshape(batch * x.shape[1], -1)

    def _forward(self, layer: _Layer, x: Tensor, batch: int, length: int, asked: Tensor | None) -> Tensor:
        layer.h_1, mean, rstd = layer.norm_1.forward(x)
        layer.norm_1_kept = (x, mean, rstd)
        qkv = torch.split(layer.to_qkv.forward(layer.h_1), x.shape[1], dim=1)
        layer.q, layer.k, layer.v = q, k, v = [self._split_heads(part, batch) for part in qkv]
        scores = torch.baddbmm(self.mask[:length, :length], q, k.transpose(1, 2), alpha=q.shape[2] ** -0.5)
        layer.attention = torch.softmax(scores, dim=-1)
        heads = self._join_heads(torch.bmm(layer.attention, v), batch)
        if asked is not None:  # from here on a position's row depends on no other
            x, heads = x[asked], heads[asked]
        layer.heads = heads
        x = layer.from_heads.forward(heads).add_(x)
        layer.h_2, mean, rstd = layer.norm_2.forward(x)
        layer.norm_2_kept = (x, mean, rstd)
        layer.inner = layer.to_inner.forward(layer.h_2)
        layer.activated = torch.nn.functional.gelu(layer.inner)
        return layer.from_inner.forward(layer.activated).add_(x)

    def _backward(self, layer: _Layer, d_x: Tensor, batch: int, asked: Tensor | None) -> Tensor:
        d_inner = aten.gelu_backward(layer.from_inner.backward(d_x, layer.activated, self.ones), layer.inner)
        d_h_2 = layer.to_inner.backward(d_inner, layer.h_2, self.ones)
        d_x = layer.norm_2.backward(d_h_2, *layer.norm_2_kept).add_(d_x)
        d_heads = layer.from_heads.backward(d_x, layer.heads, self.ones)
        if asked is not None:
            everywhere = d_x.new_zeros(2, layer.h_1.shape[0], d_x.shape[1])
            everywhere[0].index_copy_(0, asked, d_x)
            everywhere[1].index_copy_(0, asked, d_heads)
            d_x, d_heads = everywhere
        d_out = self._split_heads(d_heads, batch)
        d_attention = torch.bmm(d_out, layer.v.transpose(1, 2))
        d_scores = aten._softmax_backward_data(d_attention, layer.attention, -1, torch.float32)
        d_scores.mul_(layer.q.shape[2] ** -0.5)
        parts = (
            torch.bmm(d_scores, layer.k),
            torch.bmm(d_scores.transpose(1, 2), layer.q),
            torch.bmm(layer.attention.transpose(1, 2), d_out),
        )
        d_qkv = torch.cat([self._join_heads(part, batch) for part in parts], dim=1)
        d_h_1 = layer.to_qkv.backward(d_qkv, layer.h_1, self.ones)
        return layer.norm_1.backward(d_h_1, *layer.norm_1_kept).add_(d_x)


def _grad(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
