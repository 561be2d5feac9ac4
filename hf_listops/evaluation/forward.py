"""The forward pass of a `GPT2LMHeadModel` over its own weights, without what tiny models on short rows do not need.

The same logits as the model's own forward (dropout 0, rows padded on the right) to float32 rounding. No masks, no cache
object, no output classes; and since only some positions are asked for their next token, everything after the last
layer's attention is computed at those alone.

Shapes: B rows, T tokens, D `n_embd`, H heads, V symbols, N asked positions.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.activations import ACT2FN

from hf_listops.errors import ListOpsError

Block = Any  # a `GPT2Block`; nn.Module hides the types of its parts


class LeanGPT2(nn.Module):
    """Wraps a `GPT2LMHeadModel`; `model` is that very object, whose weights are used and trained in place."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        super().__init__()
        config: GPT2Config = model.config
        dropout = max(config.resid_pdrop, config.embd_pdrop, config.attn_pdrop)
        if (
            dropout
            or config.add_cross_attention
            or config.scale_attn_by_inverse_layer_idx
            or not config.scale_attn_weights
        ):
            raise ListOpsError(
                "model: its GPT2Config has dropout or a non-standard attention; a right one has resid_pdrop = embd_pdrop "
                "= attn_pdrop = 0, scale_attn_weights and no cross-attention"
            )
        self.model = model
        self.n_head: int = config.n_head
        self.epsilon: float = config.layer_norm_epsilon
        self.activation = ACT2FN[config.activation_function]

    def forward(self, ids: Tensor, asked: Tensor) -> Tensor:
        """Logits for the token after each asked position.

        Args:
            ids (`Tensor`): token ids, shape `(B, T)`, rows padded on the right with any id.
            asked (`Tensor`): places in the flattened `(B * T)`, shape `(N,)`; they must not be padding.

        Returns:
            `Tensor`: shape `(N, V)`.
        """
        batch, length = ids.shape
        x, blocks = self.embed(ids), self.blocks
        for block in blocks:
            q, k, v = self.project(block, x, batch)
            heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            heads = heads.transpose(1, 2).reshape(batch * length, -1)
            if block is blocks[-1]:
                x, heads = x[asked], heads[asked]
            x = self.finish(block, x, heads)
        return self.logits(x)

    @property
    def blocks(self) -> list[Block]:
        return list(self.model.transformer.h)

    def embed(self, ids: Tensor, positions: Tensor | None = None) -> Tensor:
        """Token and position embeddings, shape `(B * T, D)`; positions 0 … T-1 by default."""
        gpt2 = self.model.transformer
        places = gpt2.wpe.weight[: ids.shape[1]] if positions is None else gpt2.wpe.weight[positions]
        return (F.embedding(ids, gpt2.wte.weight) + places).flatten(0, 1)

    def project(self, block: Block, x: Tensor, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of a layer, each of shape `(B, H, T, D / H)`, of `(B * T, D)`."""
        qkv = torch.addmm(block.attn.c_attn.bias, self._normalize(block.ln_1, x), block.attn.c_attn.weight)
        q, k, v = qkv.view(batch, -1, 3, self.n_head, x.shape[1] // self.n_head).permute(2, 0, 3, 1, 4)
        return q, k, v

    def finish(self, block: Block, x: Tensor, heads: Tensor) -> Tensor:
        """The residual stream after a layer, from the stream before it and the heads' outputs side by side."""
        x = torch.addmm(block.attn.c_proj.bias, heads, block.attn.c_proj.weight) + x
        mlp = block.mlp
        inner = self.activation(torch.addmm(mlp.c_fc.bias, self._normalize(block.ln_2, x), mlp.c_fc.weight))
        return torch.addmm(mlp.c_proj.bias, inner, mlp.c_proj.weight) + x

    def logits(self, x: Tensor) -> Tensor:
        """Next-token logits, shape `(N, V)`, of the stream after the last layer."""
        return F.linear(self._normalize(self.model.transformer.ln_f, x), self.model.lm_head.weight)

    def _normalize(self, norm: nn.LayerNorm, x: Tensor) -> Tensor:
        return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, self.epsilon)
