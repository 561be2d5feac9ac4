from pathlib import Path

import numpy as np
import pytest
import torch

from hf_listops.data.load import load_split
from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.accuracy import score
from hf_listops.evaluation.checkpoint import load_checkpoint
from hf_listops.evaluation.decoding import complete
from hf_listops.evaluation.solve import solve
from hf_listops.language import Task, generate

TASK = Task.from_name("max-med-sum-mod10-depth2")


def test_both_measures_agree_with_generate_on_1_000_rows(trained: Path) -> None:
    """Row by row, on a half-trained model: right, wrong, and right only in the answer all occur."""
    checkpoint = load_checkpoint(str(trained))
    rows = TokenMatrix.from_rows(generate(TASK, "test", 3, 0, 1000))
    scores = score(checkpoint.lean, rows)
    exact, answered = np.zeros(1000, dtype=bool), np.zeros(1000, dtype=bool)
    for length in np.unique(rows.prompt_lengths):  # equal prompts need no padding
        places = np.flatnonzero(rows.prompt_lengths == length)
        prompts = torch.from_numpy(rows.ids[places, :length].astype(np.int64))
        out = checkpoint.model.generate(prompts, attention_mask=torch.ones_like(prompts)).numpy()
        for place, ids in zip(places, out, strict=True):
            reference = rows.ids[place, : rows.lengths[place]].tolist()
            text = ids.tolist()
            text = text[: text.index(1) + 1] if 1 in text else text
            exact[place] = text == reference
            lines = checkpoint.tokenizer.decode(text).split(" = ")
            answered[place] = lines[-1] == f"{rows.answers[place]} <eos>"
    assert scores.exact.tolist() == exact.tolist()
    assert scores.answered.tolist() == answered.tolist()
    assert 0 < exact.sum() < answered.sum() < 1000


def test_decoding_does_not_depend_on_the_batch(trained: Path) -> None:
    lean = load_checkpoint(str(trained)).lean
    rows = TokenMatrix.from_rows(generate(TASK, "test", 4, 0, 60))
    ids, lengths = torch.from_numpy(rows.ids.astype(np.int64)), torch.from_numpy(rows.prompt_lengths)
    out, ends = complete(lean, ids, lengths, 1)
    for i in range(60):
        alone, end = complete(lean, ids[i : i + 1], lengths[i : i + 1], 1)
        assert alone[0].tolist() == out[i].tolist()
        assert end[0] == ends[i]


def test_summary(trained: Path, dataset: Path) -> None:
    rows = load_split(str(dataset), TASK, "test")
    summary = score(load_checkpoint(str(trained)).lean, rows).summary()
    counts = np.bincount(rows.answers)
    assert summary["rows"] == 120
    assert summary["chance"] == counts.max() / 120
    weighted = sum(
        value * (rows.depths == int(depth)).sum() for depth, value in summary["exact_match_per_depth"].items()
    )
    assert weighted / 120 == pytest.approx(summary["exact_match"])


def test_rows_too_long_for_the_model(trained: Path) -> None:
    rows = TokenMatrix.from_rows(generate(TASK, "test_deeper", 0, 0, 50))
    with pytest.raises(ListOpsError, match=r"n_positions: 26 is too short for \d+ of 50 rows"):
        score(load_checkpoint(str(trained)).lean, rows)


def test_solving_aloud(trained: Path) -> None:
    checkpoint = load_checkpoint(str(trained))
    assert checkpoint.task == TASK
    lines = list(solve(checkpoint, "[MAX 3 9 4 ]"))
    assert [(line.text, line.expected, line.is_right) for line in lines] == [("9", "9", True)]
    prompts = generate(TASK, "test", 5, 0, 60).texts()[0]
    marks = [line.is_right for prompt in prompts for line in solve(checkpoint, prompt.removesuffix(" ="))]
    assert True in marks
    assert False in marks
    with pytest.raises(ListOpsError, match="a number in 0"):
        list(solve(checkpoint, "[MAX 3 10 ]"))
    with pytest.raises(ListOpsError, match="26 positions"):
        list(solve(checkpoint, "[MAX " + "1 " * 30 + "]"))


def test_loading_what_is_no_checkpoint(tmp_path: Path, trained: Path) -> None:
    for name, problem in (
        ("nowhere/at-all", "HF_HUB_OFFLINE is set"),
        ("no/such/name", "neither a folder nor a name on the Hub"),
        (str(tmp_path), "gives no checkpoint"),
    ):
        with pytest.raises(ListOpsError, match=problem):
            load_checkpoint(name)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ListOpsError, match="is a 'bert'"):
        load_checkpoint(str(tmp_path))
    for file in trained.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes((trained / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ListOpsError, match="gives no checkpoint"):
        load_checkpoint(str(tmp_path))
