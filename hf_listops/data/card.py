"""The dataset card: made from the manifest alone."""

from __future__ import annotations

import hashlib
from typing import Any

COLUMNS = """| column | type | meaning |
|---|---|---|
| `prompt` | string | the expression and `=`, tokens separated by one space: `[SUM 3 [MAX 7 4 9 ] ] =` |
| `completion` | string | the trace, with a leading space, so that prompt + completion is the text: ` [SUM 3 9 ] = 2` |
| `answer` | int | the value, in 0 … n-1 |
| `operations` | list of strings | the operations that occur |
| `depth` | int | 1 for a call of numbers, else 1 + the largest depth of the arguments |
| `num_tokens` | int | tokens of prompt and completion, and one `<eos>` |
"""

SPLITS = """| split | what it holds |
|---|---|
| `train` | the prompt and every line of the trace but the last number hash to train (90 % of all expressions); may repeat small expressions |
| `validation`, `test` | distinct prompts that hash to validation or test (5 % each) |
| `test_unseen_calls` | test prompts that reduce at least one held-out call: what a memorised table cannot answer |
| `test_deeper` | test prompts one level deeper than training |

Splits are a property of the expression, the same in every config, modulus and seed. A second, independent hash holds out
5 % of the flat calls (an operation with numbers only): no row of the other splits reduces one, at any step. So no
evaluated expression, and no held-out call, occurs anywhere in any train split of any config. `hf-listops data check`
recomputes all of it.
"""


def dataset_card(manifest: dict[str, Any]) -> str:
    """README.md of a dataset folder: YAML for the Hub, then what it is, how it was made and its numbers."""
    configs: dict[str, Any] = manifest["configs"]
    imported = manifest.get("imported", False)
    yaml = ["---", "license: mit" if imported else "license: apache-2.0", "language: en", "pretty_name: ListOps"]
    yaml += ["task_categories:", "- text-generation", "tags:", "- listops", "- arithmetic", "- chain-of-thought"]
    infos: list[str] = []
    if configs:
        yaml.append("configs:")
    for name, splits in configs.items():
        yaml += [f"- config_name: {name}", "  data_files:"]
        for split in splits:
            yaml += [f"  - split: {split}", f"    path: {name}/{split}-*.parquet"]
        # `load_dataset` keys its cache of a local dataset by the folder's last name and this YAML, not by the files.
        digest = hashlib.sha256("".join(facts["sha256"] for facts in splits.values()).encode()).hexdigest()
        infos += [f"- config_name: {name}", f"  description: sha256 of the files' sha256 {digest}"]
    if infos:
        yaml += ["dataset_info:", *infos]
    return "\n".join([*yaml, "---", "", _imported() if imported else _ours(manifest), _numbers(configs)])


def _ours(manifest: dict[str, Any]) -> str:
    example = next(iter(manifest["configs"]), "max-med-sum-mod10-depth2")
    return f"""# ListOps: nested arithmetic with a chain of thought

Nested calls of MAX, MIN, MED and SUM (modulo n) and further operations, rewritten line by line until a number is left.
One config is one *task*: which operations, modulo what, how deep. Made for controlled experiments on what tiny language
models learn, after "Small Models, Smarter Learning: The Power of Joint Task Training" (arXiv 2505.18369).

```python
from datasets import load_dataset

test = load_dataset("PATH_OR_NAME", "{example}", split="test")
```

## Columns

{COLUMNS}
`prompt`/`completion` is the format of TRL's `SFTTrainer`.

## Splits

{SPLITS}
## How it was made

Depth d is uniform in 1 … max_depth. A call of depth d takes its operation uniformly from the mix and 2 … max_args
(3 unless the name says `-args`) arguments; one at a uniform place has depth d-1, each other one is, if d > 1, with
probability 0.35 a call of depth uniform in 1 … d-1, else a number uniform in 0 … n-1. A row outside its split is drawn
again. Generator version {manifest["generator_version"]}, seed {manifest["seed"]}: the same version, seed and sizes give the same bytes, with

```
hf-listops data build {" ".join(manifest["configs"]) if len(manifest["configs"]) < 6 else f"{example} …"} --out DIR \\
  --seed {manifest["seed"]} --train_rows {manifest["train_rows"]} --evaluation_rows {manifest["evaluation_rows"]}
```

## Licence and citation

Apache-2.0. Cite the software (`CITATION.cff` of hf_listops), the paper above, and Nangia and Bowman, "ListOps: A
Diagnostic Dataset for Latent Tree Learning" (2018), who made the language.
"""


def _imported() -> str:
    return f"""# Original ListOps files

Rows of the original ListOps data (Nangia and Bowman, "ListOps: A Diagnostic Dataset for Latent Tree Learning", 2018,
MIT), read and checked, with the columns of our own datasets; `[SM` is written `[SUM`. They follow no split rule of ours.

## Columns

{COLUMNS}"""


def _numbers(configs: dict[str, Any]) -> str:
    lines = [
        "## Numbers",
        "",
        "Chance is the accuracy of the best constant answer.",
        "",
        "| config | split | rows | distinct prompts | longest row, tokens | chance | rows (mean tokens) per depth |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, splits in configs.items():
        for split, facts in splits.items():
            depths = ", ".join(f"{d}: {of['rows']:,} ({of['mean_tokens']})" for d, of in facts["depths"].items())
            lines.append(
                f"| `{name}` | {split} | {facts['rows']:,} | {facts['distinct_prompts']:,} | {facts['longest']} "
                f"| {facts['chance']:.3f} | {depths} |"
            )
    return "\n".join(lines) + "\n"
