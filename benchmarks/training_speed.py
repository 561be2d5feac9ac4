"""Training rows a CPU second of our loop and of the Hugging Face `Trainer`, interleaved in one run on one thread.

The same model config, rows and labels; the peer is `Trainer` with `DataCollatorForSeq2Seq` (exact GELU, dropout 0, its
default fused AdamW). Blocks of steps of both alternate, so that both meet the same state of the machine.
"""

import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import datasets
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments
from transformers.utils.logging import disable_progress_bar

from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.data.tokenizer import make_tokenizer
from hf_listops.hub.manifest import provenance
from hf_listops.language import Task, generate
from hf_listops.training.config import RunConfig
from hf_listops.training.model import make_model
from hf_listops.training.run import Training
from hf_listops.training.step import as_tensors

TASK = Task.from_name("max-med-sum-mod10-depth2")
ROWS, BLOCK, BLOCKS = 50_000, 32, 10


def config_of(n_embd: int, data: str) -> RunConfig:
    return RunConfig(task=TASK.name, dataset=data, n_embd=n_embd, output_dir=f"{data}-run", max_steps=10_000)


class Interleaved(TrainerCallback):
    """After each block of the Trainer's steps, a block of ours."""

    def __init__(self, ours: Training) -> None:
        self.ours = ours
        self.peer_seconds = self.our_seconds = self.last = 0.0

    def on_step_end(self, args: object, state: object, control: object, **rest: object) -> None:
        step: int = state.global_step  # type: ignore[attr-defined]
        if step % BLOCK:
            return
        now = time.process_time()
        self.peer_seconds += now - self.last if step > BLOCK else 0.0
        for _ in range(BLOCK):
            self.ours.update()
        self.our_seconds += time.process_time() - now if step > BLOCK else 0.0
        self.last = time.process_time()


def largest_difference(ours: Training) -> float:
    """Our losses against `GPT2LMHeadModel`'s own forward on the same batches and weights, at the most."""
    worst = 0.0
    for step in range(5):
        rows = ours.rows(ours.sampler.batch(step))
        ids, asked, targets = as_tensors(rows, "completion", torch.device("cpu"))
        with torch.no_grad():
            logits = ours.model(ids).logits.flatten(0, 1)[asked]
        loss = ours.loss_and_gradient(rows, len(targets))
        ours.optimizer.zero_grad(set_to_none=False)
        worst = max(worst, abs(float(loss - F.cross_entropy(logits, targets))))
    return worst


def main() -> None:
    torch.set_num_threads(1)
    disable_progress_bar()
    datasets.disable_progress_bars()
    matrix = TokenMatrix.from_rows(generate(TASK, "train", 0, 0, ROWS))
    columns = {
        "input_ids": [matrix.ids[i, : matrix.lengths[i]].tolist() for i in range(ROWS)],
        "labels": [
            [-100] * int(matrix.prompt_lengths[i])
            + matrix.ids[i, matrix.prompt_lengths[i] : matrix.lengths[i]].tolist()
            for i in range(ROWS)
        ],
    }
    peer_data = datasets.Dataset.from_dict(columns)
    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as scratch:
        from hf_listops.data.build import build

        data = str(Path(scratch) / "data")
        tasks = [TASK, *(TASK.alone(name) for name in TASK.operations)]
        build(tasks, Path(data), train_rows=ROWS, evaluation_rows=50, progress=False)
        for n_embd in (16, 48):
            config = config_of(n_embd, data)
            ours = Training(config, Accelerator(cpu=True))
            difference = largest_difference(ours)
            callback = Interleaved(ours)
            arguments = TrainingArguments(
                output_dir=scratch,
                max_steps=BLOCK * (BLOCKS + 1),
                per_device_train_batch_size=config.batch_size,
                learning_rate=config.learning_rate,
                report_to=[],
                use_cpu=True,
                save_strategy="no",
                logging_steps=10_000,
                disable_tqdm=True,
            )
            collator = DataCollatorForSeq2Seq(make_tokenizer(TASK, config.positions))
            model = make_model(config)
            Trainer(
                model=model, args=arguments, train_dataset=peer_data, data_collator=collator, callbacks=[callback]
            ).train()
            rows = BLOCK * BLOCKS * config.batch_size
            ours_speed, peer_speed = rows / callback.our_seconds, rows / callback.peer_seconds
            print(
                f"n_embd {n_embd}: ours {ours_speed:,.0f}, Trainer {peer_speed:,.0f} rows a CPU second: "
                f"{ours_speed / peer_speed:.2f}x; losses differ by at most {difference:.1e}"
            )
            result[str(n_embd)] = {"ours": ours_speed, "trainer": peer_speed, "ratio": ours_speed / peer_speed,
                                   "loss_difference": difference}  # fmt: skip
    print(json.dumps({"benchmark": "training_speed", "task": TASK.name, "n_embd": result, **provenance()}))


if __name__ == "__main__":
    main()
