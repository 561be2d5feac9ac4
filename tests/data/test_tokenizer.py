from pathlib import Path

import pytest
from transformers import AutoTokenizer

from hf_listops.data.load import load_split
from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.data.tokenizer import make_tokenizer
from hf_listops.errors import ListOpsError
from hf_listops.language import Task, generate


@pytest.mark.parametrize("name", ["max-med-sum-mod10-depth2", "shuf-symshuf-mod26-depth3-args4-leftmost"])
def test_round_trip_of_every_row(name: str, tmp_path: Path) -> None:
    task = Task.from_name(name)
    make_tokenizer(task, 64).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    rows = generate(task, "train", 0, 0, 500)
    for i, (prompt, completion) in enumerate(zip(*rows.texts(), strict=True)):
        ids = rows.ids[rows.offsets[i] : rows.offsets[i + 1]].tolist()
        assert tokenizer(prompt + completion + " <eos>")["input_ids"] == ids
        assert tokenizer(prompt)["input_ids"] + tokenizer(completion)["input_ids"] == ids[:-1]
        assert tokenizer.decode(ids[:-1]) == prompt + completion
        assert tokenizer.decode(ids, skip_special_tokens=True) == prompt + completion
    assert list(tokenizer(["[SUM 3 4 ] ="])) == ["input_ids", "attention_mask"]


def test_a_checkpoint_gives_the_same_ids(trained: Path, dataset: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(trained)
    rows = load_split(str(dataset), Task.from_name("max-med-sum-mod10-depth2"), "test")
    assert tokenizer.get_vocab() == {s: i for i, s in enumerate(rows.task.vocabulary)}
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 1, 1)
    assert tokenizer("[SUM 3 ] =")["input_ids"] == [rows.task.vocabulary.index(s) for s in ("[SUM", "3", "]", "=")]


@pytest.mark.parametrize("text", ["[ADD 3 4 ]", "10", "[SUM 3 4]", "<unk>"])
def test_an_unknown_symbol_raises(text: str) -> None:
    tokenizer = make_tokenizer(Task(("SUM",)), 26)
    with pytest.raises(Exception, match="WordLevel error"):
        tokenizer(text)
    none = generate(Task(("SUM",)), "train", 0, 0, 0).answers
    with pytest.raises(ListOpsError, match="row 1: the symbol"):
        TokenMatrix.from_texts(Task(("SUM",)), ["3 =", f"{text} ="], [" 3", " 4"], none, none)
