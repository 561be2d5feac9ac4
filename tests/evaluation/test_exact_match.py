"""The text-level measures and their `evaluate` module, against the token-level ones on real completions."""

import ast
import re
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch
from huggingface_hub import RepoCard

import hf_listops
from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.accuracy import score
from hf_listops.evaluation.checkpoint import load_checkpoint
from hf_listops.evaluation.exact_match import exact_match, is_answered, is_exact
from hf_listops.language import Task, generate

MODULE = Path(hf_listops.__file__).parent / "evaluation" / "listops_exact_match"


@pytest.mark.parametrize(
    ("prediction", "reference", "exact", "answered"),
    [
        (" [SUM 3 9 ] = 2", " [SUM 3 9 ] = 2", True, True),
        ("[SUM  3 9 ]\n= 2 <eos> <pad> <pad>", " [SUM 3 9 ] = 2", True, True),
        ("[SUM 3 8 ] = 2", " [SUM 3 9 ] = 2", False, True),
        ("2", " [SUM 3 9 ] = 2", False, True),
        ("[SUM 3 9 ] = 2 = 2", " [SUM 3 9 ] = 2", False, True),
        ("[SUM 3 9 ] = 12", " [SUM 3 9 ] = 2", False, False),
        ("[SUM 3 9 2", " [SUM 3 9 ] = 2", False, False),
        ("[SUM 3 9 ] = 2 2", " [SUM 3 9 ] = 2", False, False),
        ("[SUM 3 9 ] =", " [SUM 3 9 ] = 2", False, False),
        ("", " [SUM 3 9 ] = 2", False, False),
        ("<eos> [SUM 3 9 ] = 2", " [SUM 3 9 ] = 2", False, False),
        ("7", " 7", True, True),
        ("7 <eos> 8", " 7 <eos>", True, True),
        ("7", " 7 <eos>", False, False),  # cut off before it ended
        ("[SUM 3 8 ] = 2", " [SUM 3 9 ] = 2 <eos>", False, False),
    ],
)
def test_measures_of_a_text(prediction: str, reference: str, exact: bool, answered: bool) -> None:
    assert (is_exact(prediction, reference), is_answered(prediction, reference)) == (exact, answered)
    assert exact_match([prediction, reference], [reference] * 2) == {
        "exact_match": (exact + 1) / 2,
        "answer_accuracy": (answered + 1) / 2,
    }


def test_wrong_input() -> None:
    with pytest.raises(ListOpsError, match="predictions: 1 for 2 references; right is one completion"):
        exact_match(["1"], ["1", "2"])
    with pytest.raises(ListOpsError, match="predictions: 0 for 0 references"):
        exact_match([], [])


def test_the_module_agrees_with_the_token_level_on_real_completions(trained: Path) -> None:
    checkpoint = load_checkpoint(str(trained))
    rows = TokenMatrix.from_rows(generate(Task.from_name("max-med-sum-mod10-depth2"), "test", 7, 0, 400))
    scores = score(checkpoint.lean, rows)
    predictions = [""] * len(rows)
    for length in np.unique(rows.prompt_lengths):  # equal prompts need no padding
        places = np.flatnonzero(rows.prompt_lengths == length)
        prompts = torch.from_numpy(rows.ids[places, :length].astype(np.int64))
        out = checkpoint.model.generate(prompts, attention_mask=torch.ones_like(prompts))
        for place, ids in zip(places, out, strict=True):
            predictions[place] = checkpoint.tokenizer.decode(ids[length:])
    references = [
        checkpoint.tokenizer.decode(ids[prompt:length])
        for ids, prompt, length in zip(rows.ids, rows.prompt_lengths, rows.lengths, strict=True)
    ]
    pairs = list(zip(predictions, references, strict=True))
    assert [is_exact(*pair) for pair in pairs] == scores.exact.tolist()
    assert [is_answered(*pair) for pair in pairs] == scores.answered.tolist()
    assert 0 < scores.exact.sum() < scores.answered.sum() < len(rows)

    metric = evaluate.load(str(MODULE))
    expected = {"exact_match": scores.exact_match, "answer_accuracy": scores.answer_accuracy}
    assert metric.compute(predictions=predictions, references=references) == expected
    for start in range(0, len(rows), 150):  # batches that do not fill the last one
        part = slice(start, start + 150)
        metric.add_batch(predictions=predictions[part], references=references[part])
    assert metric.compute() == expected
    metric.add(prediction=predictions[0], reference=references[0])
    assert metric.compute() == {"exact_match": float(scores.exact[0]), "answer_accuracy": float(scores.answered[0])}
    both = evaluate.combine([evaluate.load(str(MODULE)), evaluate.load(str(MODULE))])
    combined = both.compute(predictions=predictions, references=references)
    assert set(combined.values()) == set(expected.values())
    assert len(combined) == 4  # of equal names, told apart by a prefix


def test_the_module_is_a_space_and_its_card_says_what_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(MODULE.parents[2])
    card = RepoCard.load(MODULE / "README.md")
    assert card.data.sdk == "static"  # no application
    assert {"evaluate", "metric"} <= set(card.data.tags)  # what `evaluate.list_evaluation_modules` looks for
    (code,) = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    *lines, call, result = code.splitlines()
    variables: dict[str, object] = {}
    exec("\n".join(lines), variables)
    assert eval(call, variables) == ast.literal_eval(result.removeprefix("# "))
