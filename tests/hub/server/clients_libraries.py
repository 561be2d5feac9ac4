"""What people do with datasets, transformers and evaluate: run against a Hub by `test_hub_clients.py`.

With `HF_HUB_OFFLINE=1` it loads once more what it made, from the cache alone; with carol's token it is refused.
"""

import os
import sys
from pathlib import Path

import datasets
import evaluate
from datasets.hub import delete_from_hub
from huggingface_hub import HfApi, snapshot_download

api = HfApi()
MIX, MODEL, METRIC = "alice/mixes", "alice/tiny", "alice/exact"
WORDS = ["<pad>", "<eos>", "[MAX", "]", "1", "2", "3"]
METRIC_CODE = """
import datasets
import evaluate


class Exact(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {"exact": sum(p == r for p, r in zip(predictions, references)) / len(references)}
"""


def rows(first: int, count: int) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"prompt": [f"[MAX {n} ]" for n in range(first, first + count)]})


def datasets_with_two_configs(scratch: Path) -> None:
    rows(0, 20).push_to_hub(MIX, "max", split="train")
    rows(50, 5).push_to_hub(MIX, "max", split="test")
    rows(100, 10).push_to_hub(MIX, "med", split="train", revision="exp/more", private=False)
    assert datasets.get_dataset_config_names(MIX) == ["max"]
    both = datasets.load_dataset(MIX, "max")
    assert {split: list(part["prompt"]) for split, part in both.items()} == {
        "train": list(rows(0, 20)["prompt"]), "test": list(rows(50, 5)["prompt"]),
    }  # fmt: skip
    assert sorted(datasets.get_dataset_config_names(MIX, revision="exp/more")) == ["max", "med"]
    assert datasets.load_dataset(MIX, "med", split="train", revision="exp/more")[0] == {"prompt": "[MAX 100 ]"}
    streamed = datasets.load_dataset(MIX, "max", split="train", streaming=True)
    assert [row["prompt"] for row in streamed] == list(rows(0, 20)["prompt"])
    rows(200, 3).push_to_hub(MIX, "gone", split="train")
    deleted = delete_from_hub(MIX, "gone")
    assert deleted.pr_num == 1
    assert sorted(datasets.get_dataset_config_names(MIX, revision="refs/pr/1")) == ["max"]
    private = rows(0, 4)
    private.push_to_hub("alice/private-mixes", private=True)
    assert api.dataset_info("alice/private-mixes").private
    assert len(datasets.load_dataset("alice/private-mixes", split="train")) == 4


def models_with_revisions(scratch: Path) -> None:
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        GPT2Config,
        GPT2LMHeadModel,
        PreTrainedTokenizerFast,
        Trainer,
        TrainingArguments,
    )

    words = Tokenizer(WordLevel({word: n for n, word in enumerate(WORDS)}))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")
    config = GPT2Config(
        vocab_size=len(WORDS),
        n_positions=16,
        n_embd=8,
        n_layer=1,
        n_head=1,
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    early, late = GPT2LMHeadModel(config), GPT2LMHeadModel(config)
    tokenizer.push_to_hub(MODEL)
    early.push_to_hub(MODEL, revision="step/1", commit_message="step 1")
    late.push_to_hub(MODEL)
    tokenizer.push_to_hub(MODEL, revision="step/1")
    for revision, model in (("step/1", early), ("main", late)):
        loaded = AutoModelForCausalLM.from_pretrained(MODEL, revision=revision)
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))
        assert AutoTokenizer.from_pretrained(MODEL, revision=revision)("[MAX 1 2 ]")["input_ids"] == [2, 4, 5, 3]
    assert api.model_info(MODEL).library_name in (None, "transformers")
    data = datasets.Dataset.from_dict({"input_ids": [[2, 4, 5, 3]] * 4, "labels": [[2, 4, 5, 3]] * 4})
    arguments = TrainingArguments(
        output_dir=str(scratch / "trained"), max_steps=2, save_steps=1, use_cpu=True, report_to=[], push_to_hub=True,
        hub_model_id="alice/trained", hub_strategy="all_checkpoints", hub_revision="run-1", disable_tqdm=True,
    )  # fmt: skip
    api.create_repo("alice/trained")
    api.create_branch("alice/trained", branch="run-1")  # which Trainer does not, here as on huggingface.co
    trainer = Trainer(model=late, args=arguments, train_dataset=data, processing_class=tokenizer)
    trainer.train()
    trainer.push_to_hub()
    files = api.list_repo_files("alice/trained", revision="run-1")
    assert {"model.safetensors", "README.md", "training_args.bin"} <= set(files)
    assert api.list_repo_files("alice/trained") == [".gitattributes"]
    trained = AutoModelForCausalLM.from_pretrained("alice/trained", revision="run-1")
    assert all(torch.equal(a, b) for a, b in zip(late.parameters(), trained.parameters(), strict=True))


def metrics_from_spaces(scratch: Path) -> None:
    for name, private in ((METRIC, False), ("alice/hidden", True)):
        api.create_repo(name, repo_type="space", space_sdk="gradio", private=private)
        code = METRIC_CODE.encode()
        api.upload_file(path_or_fileobj=code, path_in_repo=f"{name.split('/')[1]}.py", repo_id=name, repo_type="space")
        loaded = evaluate.load(name)
        assert loaded.compute(predictions=["a", "b"], references=["a", "c"]) == {"exact": 0.5}
    readme = b"---\ntitle: Exact\nsdk: gradio\ntags: [evaluate, metric]\n---\n"
    api.upload_file(path_or_fileobj=readme, path_in_repo="README.md", repo_id=METRIC, repo_type="space")
    assert METRIC in evaluate.list_evaluation_modules("metric")


def somebody_else() -> None:
    """Who has another token and a cache of their own."""
    try:
        datasets.load_dataset("alice/private-mixes")
        raise AssertionError
    except datasets.exceptions.DatasetNotFoundError:
        pass
    try:
        evaluate.load("alice/hidden")
        raise AssertionError
    except FileNotFoundError:
        pass
    assert len(datasets.load_dataset(MIX, "max", split="train")) == 20


def offline() -> None:
    """After the server is gone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert Path(snapshot_download(MODEL, revision="step/1"), "model.safetensors").is_file()
    assert AutoModelForCausalLM.from_pretrained(MODEL, revision="step/1").config.n_embd == 8
    assert AutoTokenizer.from_pretrained(MODEL, revision="step/1")("1")["input_ids"] == [4]
    assert len(datasets.load_dataset(MIX, "max", split="train")) == 20


if __name__ == "__main__":
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        offline()
    elif os.environ["HF_TOKEN"] == "carol-token":
        somebody_else()
    else:
        datasets.disable_progress_bars()
        for flow in (datasets_with_two_configs, models_with_revisions, metrics_from_spaces):
            flow(Path(sys.argv[1]))
            print(flow.__name__)  # noqa: T201
        snapshot_download(MODEL, revision="step/1")
