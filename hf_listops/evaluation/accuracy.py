"""Exact match and answer accuracy, without decoding what need not be decoded.

Greedy decoding from the prompt gives the reference, `<eos>` included, if and only if at every position of the completion
the arg-max of the teacher-forced logits is the reference's token. So one forward pass decides exact match, and only the
rows that fail it are decoded, from their first wrong token on, to see whether their answer is right all the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hf_listops.data.token_matrix import Ints, TokenMatrix
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.decoding import complete
from hf_listops.evaluation.forward import LeanGPT2
from hf_listops.language.task import EOS, EQUALS

_BATCH = 512


@dataclass(frozen=True)
class Scores:
    """What a model made of some rows; each array of shape `(rows,)`."""

    exact: NDArray[np.bool_]  # the completion is the reference, token by token
    answered: NDArray[np.bool_]  # the last line is the right number, then `<eos>`
    depths: Ints
    chance: float  # answer accuracy of the best constant answer

    @property
    def exact_match(self) -> float:
        return float(self.exact.mean())

    @property
    def answer_accuracy(self) -> float:
        return float(self.answered.mean())

    def summary(self) -> dict[str, Any]:
        """All of it as numbers in [0, 1], also per depth."""
        return {
            "rows": len(self.exact),
            "exact_match": self.exact_match,
            "answer_accuracy": self.answer_accuracy,
            "chance": self.chance,
            "exact_match_per_depth": {
                str(depth): float(self.exact[self.depths == depth].mean()) for depth in np.unique(self.depths)
            },
        }


@torch.no_grad()
def score(lean: LeanGPT2, rows: TokenMatrix) -> Scores:
    """Exact match and answer accuracy of every row.

    Raises:
        ListOpsError: a row is longer than the model's positions, or there are no rows.
    """
    n_positions = lean.model.config.n_positions
    longest = int(rows.lengths.max(initial=0))
    if longest > n_positions or not len(rows):
        raise ListOpsError(
            f"n_positions: {n_positions} is too short for {int((rows.lengths > n_positions).sum())} of {len(rows)} rows "
            f"of {rows.task.name!r}, the longest of which needs {longest}"
        )
    exact = np.zeros(len(rows), dtype=bool)
    answered = np.zeros(len(rows), dtype=bool)
    order = np.argsort(rows.lengths, kind="stable")  # batches of like lengths, hardly padded
    for start in range(0, len(rows), _BATCH):
        places = order[start : start + _BATCH]
        exact[places], answered[places] = _score_batch(lean, rows.take(places))
    chance = max(Counter(rows.answers.tolist()).values()) / len(rows)
    return Scores(exact, answered, rows.depths, chance)


def _score_batch(lean: LeanGPT2, rows: TokenMatrix) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    device = lean.model.lm_head.weight.device
    ids = torch.from_numpy(rows.ids.astype(np.int64)).to(device)
    places = np.arange(ids.shape[1])
    inside = (places >= rows.prompt_lengths[:, None] - 1) & (places < rows.lengths[:, None] - 1)
    asked = np.flatnonzero(inside)
    predicted = lean(ids, torch.from_numpy(asked).to(device)).argmax(dim=-1)
    wrong = np.zeros(inside.shape, dtype=bool)
    wrong.ravel()[asked] = (predicted != ids.view(-1)[asked + 1]).cpu().numpy()
    exact: NDArray[np.bool_] = ~np.any(wrong, axis=1)
    answered = exact.copy()
    failed = np.flatnonzero(~exact)
    if len(failed):
        vocabulary = rows.task.vocabulary
        eos, equals, zero = (vocabulary.index(symbol) for symbol in (EOS, EQUALS, "0"))
        prefixes = torch.from_numpy(wrong[failed].argmax(axis=1) + 1).to(device)  # up to the first wrong token
        out, ends = (part.cpu().numpy() for part in complete(lean, ids[failed], prefixes, eos))
        last = np.arange(len(failed))
        answered[failed] = (
            (out[last, ends - 1] == eos)
            & (out[last, ends - 2] == zero + rows.answers[failed])
            & (out[last, ends - 3] == equals)
            & (ends > rows.prompt_lengths[failed] + 1)
        )
    return exact, answered
