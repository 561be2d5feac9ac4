"""The short card of a checkpoint."""

from __future__ import annotations

from typing import Any

from hf_listops.training.config import RunConfig


def short_card(config: RunConfig, step: int, parameters: tuple[int, int], evaluation: dict[str, Any] | None) -> str:
    """README.md of a checkpoint: what it is, its latest accuracies, how to load it."""
    total, non_embedding = parameters
    what = (
        f"`{config.task}`"
        if config.task
        else "a curriculum of " + ", ".join(f"`{task.name}`" for task in config.tasks)
    )
    table = ""
    if evaluation:
        rows = "\n".join(
            f"| `{name}` | {value:.3f} | {evaluation['answer_accuracy'][name]:.3f} |"
            for name, value in evaluation["exact_match"].items()
        )
        table = f"""
Accuracy at step {evaluation["step"]}, on {config.eval_rows} rows of each test split:

| task | exact match | answer accuracy |
|---|---|---|
{rows}
"""
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags:
- listops
- gpt2
---

# {config.run_name}, step {step}

A GPT-2 of {total:,} parameters ({non_embedding:,} outside the embeddings) trained for {step} of {config.max_steps} steps on {what}:
{config.n_layer} blocks of width {config.n_embd}, {config.n_head} heads, seed {config.seed}.
{table}
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("PATH_OR_NAME")
tokenizer = AutoTokenizer.from_pretrained("PATH_OR_NAME")
```

`run.yaml` is its config, `metrics.jsonl` its history, `manifest.json` the hash of every file and where it comes from.
"""
