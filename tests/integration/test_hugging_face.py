"""What we make, used with the real libraries and nothing of ours but the sampler."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    GPT2LMHeadModel,
    Trainer,
    TrainingArguments,
    pipeline,
)

from hf_listops.data.load import load_split
from hf_listops.hub.manifest import read_manifest
from hf_listops.language import Task, parse, prompt_and_completion
from hf_listops.training.config import RunConfig
from hf_listops.training.curriculum import Curriculum, CurriculumBatchSampler
from hf_listops.training.loop import make_accelerator, train
from hf_listops.training.run import Training

MIX, PAIR, SUM = "max-med-sum-mod10-depth2", "max-med-mod10-depth2", "sum-mod10-depth2"


def test_auto_classes_and_pipeline(trained: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(trained)
    tokenizer = AutoTokenizer.from_pretrained(trained)
    assert isinstance(model, GPT2LMHeadModel)
    assert (model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id) == (1, 1, 0)
    assert model.lm_head.weight is model.transformer.wte.weight
    prompt = "[MAX 3 9 4 ] ="
    expected = "".join(prompt_and_completion(parse(prompt.removesuffix(" =")), Task.from_name(MIX)))
    out = model.generate(**tokenizer(prompt, return_tensors="pt"))
    assert tokenizer.decode(out[0], skip_special_tokens=True) == expected
    # The pipeline joins texts without a space, so that its prompt has to end with one.
    texts = pipeline("text-generation", str(trained))(f"{prompt} ")
    assert texts[0]["generated_text"] == expected


def test_every_kept_step_is_a_whole_model_and_differs(trained: Path) -> None:
    digests = set()
    for step in (0, 1, 2, 4, 8, 16, 32, 64, 100, 128, 200, 256, 300, 400, 500, 512, 600, 700, 800, 900):
        folder = trained / "steps" / f"step-{step}"
        manifest = read_manifest(folder)
        assert manifest["step"] == step
        assert {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "README.md",
                "run.yaml", "metrics.jsonl", "model.safetensors"} <= set(manifest["files"])  # fmt: skip
        digests.add(manifest["files"]["model.safetensors"])
    assert len(digests) == 20
    assert read_manifest(trained)["files"]["model.safetensors"] in digests  # the last step is the final state
    early = AutoModelForCausalLM.from_pretrained(trained / "steps" / "step-0")
    from hf_listops.training.model import make_model

    fresh = make_model(RunConfig(task=MIX, n_embd=32))
    assert all(torch.equal(a, b) for a, b in zip(early.parameters(), fresh.parameters(), strict=True))


def test_trainer_with_our_sampler_and_dataset(dataset: Path, trained: Path, tmp_path: Path) -> None:
    """HF `Trainer` trains on our prompt/completion rows in the order of our curriculum sampler."""
    tokenizer = AutoTokenizer.from_pretrained(trained)
    names = [PAIR, SUM]
    rows = datasets.concatenate_datasets([datasets.load_dataset(str(dataset), name, split="train") for name in names])

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        prompt = tokenizer(row["prompt"])["input_ids"]
        completion = [*tokenizer(row["completion"])["input_ids"], tokenizer.eos_token_id]
        return {"input_ids": prompt + completion, "labels": [-100] * len(prompt) + completion}

    encoded = rows.map(encode, remove_columns=[c for c in rows.column_names if c != "num_tokens"])
    assert [len(ids) for ids in encoded["input_ids"]] == encoded["num_tokens"][:]
    curriculum = Curriculum.from_config(None, [{"step": 0, "mix": {PAIR: 1}}, {"step": 4, "mix": {SUM: 1}}])
    lengths = np.array(rows["num_tokens"][:])
    sampler = CurriculumBatchSampler({PAIR: lengths[:3000], SUM: lengths[3000:]}, curriculum, 16)
    seen: list[torch.Tensor] = []

    class OurOrder(Trainer):  # type: ignore[misc] # transformers is not followed
        def get_train_dataloader(self) -> torch.utils.data.DataLoader[Any]:
            return torch.utils.data.DataLoader(
                self.train_dataset, batch_sampler=sampler, collate_fn=self.data_collator
            )

        def training_step(self, model: Any, inputs: dict[str, torch.Tensor], *rest: Any) -> torch.Tensor:
            seen.append(inputs["input_ids"])
            return super().training_step(model, inputs, *rest)

    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=6, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True
    )
    trainer = OurOrder(
        model=AutoModelForCausalLM.from_pretrained(trained),
        args=arguments,
        train_dataset=encoded.remove_columns("num_tokens"),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )
    result = trainer.train()
    assert np.isfinite(result.training_loss)
    for step in range(6):
        expected = [encoded[int(i)]["input_ids"] for i in sampler.batch(step)]
        got = [[i for i in row if i != tokenizer.pad_token_id] for row in seen[step].tolist()]
        assert got == expected


def test_rows_have_the_shape_that_trl_takes(dataset: Path) -> None:
    """TRL's prompt-completion format: two texts, joined without a separator, that tokenize apart as together."""
    rows = datasets.load_dataset(str(dataset), MIX, split="train[:50]")
    for row in rows:
        assert isinstance(row["prompt"], str)
        assert isinstance(row["completion"], str)
        assert row["completion"].startswith(" ")
        assert not row["prompt"].endswith(" ")


def test_the_schedule_can_be_read_off_the_rows_trained_on(dataset: Path, tmp_path: Path) -> None:
    """The weights of a ramp, recovered from the row ids of the batches that the updates really take."""
    knots = [{"step": 0, "mix": {PAIR: 1}}, {"step": 40, "mix": {PAIR: 1}}, {"step": 120, "mix": {SUM: 1}}]
    config = RunConfig(
        curriculum=knots, name="ramp", dataset=str(dataset), n_embd=4, n_layer=1, max_steps=160, batch_size=128,
        eval_steps=1000, eval_rows=5, logging_steps=1, output_dir=str(tmp_path / "run"),
    )  # fmt: skip
    taken: list[np.ndarray] = []
    take = Training.rows

    def logging_rows(self: Training, indices: np.ndarray) -> Any:
        taken.append(indices)
        return take(self, indices)

    Training.rows = logging_rows  # type: ignore[method-assign]
    try:
        train(config, make_accelerator(config))
    finally:
        Training.rows = take  # type: ignore[method-assign]
    assert len(taken) == 160
    share = np.array([(batch >= 3000).mean() for batch in taken])
    assert share[:40].max() == 0
    assert share[120:].min() == 1
    for start in range(40, 120, 8):  # windows of eight steps, of 1,024 rows each
        expected = np.mean([(step - 40) / 80 for step in range(start, start + 8)])
        assert abs(share[start : start + 8].mean() - expected) < 4 * np.sqrt(0.25 / 1024)
    from hf_listops.hub.run_folder import read_metrics

    logged = {line["step"]: line["weights"][SUM] for line in read_metrics(tmp_path / "run") if "weights" in line}
    assert logged[1] == 0
    assert logged[81] == 0.5
    assert logged[160] == 1


def test_generated_and_published_rows_are_the_same(dataset: Path) -> None:
    task = Task.from_name(MIX)
    from hf_listops.training.sources import GeneratedRows

    stored = load_split(str(dataset), task, "train", rows=200)
    drawn = GeneratedRows(task, seed=0).take(np.arange(200))
    assert stored.ids[:, : drawn.ids.shape[1]].tolist() == drawn.ids.tolist()
