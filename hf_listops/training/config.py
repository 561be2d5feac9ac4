"""The config of a run: a YAML recipe, then command-line flags, checked on entry; its hash names the run."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from hf_listops.errors import ListOpsError, did_you_mean
from hf_listops.hub.names import RunName, dataset_repo
from hf_listops.language import Task
from hf_listops.training.curriculum import Curriculum

CHOICES = {
    "lr_scheduler_type": ("cosine", "linear", "constant"),
    "loss_on": ("completion", "all"),
    "report_to": ("none", "tensorboard", "trackio"),
}
# What may change without making it another run.
NOT_HASHED = (
    "save_steps",
    "save_state",
    "logging_steps",
    "report_to",
    "output_dir",
    "resume",
    "push_to_hub",
    "hub_namespace",
)
# Fields younger than the first records: left out of the hash where they are not set, so that no run changes its name.
HASHED_IF_SET = ("base_model",)


def _help(text: str, default: Any) -> Any:
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": text})
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run. Fields are named as in `GPT2Config` and `TrainingArguments` where those have them."""

    task: str | None = _help("the mix trained jointly, as in max-med-sum-mod10-depth2; or a recipe's curriculum", None)
    curriculum: list[dict[str, Any]] | None = _help("knots {step, mix: {task: weight}}, in a recipe only", None)
    dataset: str = _help(
        "folder or Hub name (NAME[@REVISION]) of a dataset, or 'generated' for endless rows", "generated"
    )
    name: str | None = _help("what the run of a curriculum is called; the recipe's file name by default", None)
    variant: str | None = _help("ends the run's name where a recipe differs from the usual one, as in init0.1", None)

    base_model: str | None = _help(
        "start from the weights of this model (folder or NAME[@REVISION]) instead of random ones", None
    )
    n_embd: int = _help("width", 32)
    n_layer: int = _help("blocks", 2)
    n_head: int = _help("attention heads, a divisor of n_embd", 1)
    n_positions: int | None = _help("longest row in tokens; the longest possible row of the tasks by default", None)
    initializer_range: float = _help("standard deviation of the initial weights", 0.02)
    activation_function: str = _help("of the feed-forward layers; exact GELU by default", "gelu")

    max_steps: int = _help("updates; the length of the whole learning rate schedule", 6000)
    batch_size: int = _help("rows of one update, over all processes and accumulation", 64)
    gradient_accumulation_steps: int = _help("parts in which a process works through its rows of an update", 1)
    learning_rate: float = _help("peak", 3e-3)
    lr_scheduler_type: str = _help(
        "cosine (to a tenth of the peak), linear (to 0) or constant, after the warm-up", "cosine"
    )
    warmup_steps: int = _help("updates of linear warm-up", 100)
    weight_decay: float = _help("AdamW's, on matrices", 0.1)
    adam_beta1: float = _help("AdamW's", 0.9)
    adam_beta2: float = _help("AdamW's", 0.99)
    max_grad_norm: float = _help("gradients are clipped to this norm", 1.0)
    loss_on: str = _help("completion, or all tokens", "completion")
    seed: int = _help("of the initial weights and of the order of the rows", 0)
    bf16: bool = _help("bfloat16 autocast; float32 is the reference", False)
    torch_compile: bool = _help("torch.compile the forward pass (needs a C++ compiler)", False)

    eval_steps: int = _help("updates between evaluations, at which the resumable state is saved too", 250)
    eval_rows: int = _help("rows of each split in scheduled evaluations; the final one takes all", 500)
    stop_when_solved: bool = _help("stop at exact match 0.995 on all operations three evaluations in a row", False)
    save_steps: list[int] = _help(
        "checkpoints to keep: one number k for 0, 1, 2, 4 … 512 and then every k; several for exactly these steps; 0 for "
        "the final state only",
        [0],
    )
    save_state: bool = _help(
        "keep the optimizer's state in every kept step too, so that 'hub verify --replay' can start from any of them",
        False,
    )
    logging_steps: int = _help("updates between lines of metrics.jsonl", 50)
    report_to: str = _help("none, tensorboard or trackio", "none")

    output_dir: str | None = _help("the run's folder; outputs/{run} by default", None)
    resume: bool = _help("go on from the state in output_dir", False)
    push_to_hub: bool = _help(
        "publish every kept step, as a branch step-{n}, and the final state, as main, under hub_namespace", False
    )
    hub_namespace: str | None = _help("owner of the model repo listops-{run}; the token's user by default", None)

    def __post_init__(self) -> None:
        for name, value in self.to_dict().items():
            object.__setattr__(self, name, _typed(name, value))
        if (self.task is None) == (self.curriculum is None):
            raise ListOpsError(
                "task: give either a task such as 'max-med-sum-mod10-depth2' or, in a recipe, a curriculum"
            )
        for name, least in (
            ("n_embd", 1),
            ("n_layer", 1),
            ("n_head", 1),
            ("n_positions", 2),
            ("max_steps", 1),
            ("batch_size", 1),
            ("gradient_accumulation_steps", 1),
            ("eval_steps", 1),
            ("eval_rows", 1),
            ("logging_steps", 1),
            ("warmup_steps", 0),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ListOpsError(f"{name}: {value} is below {least}")
        for name in ("learning_rate", "initializer_range", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ListOpsError(f"{name}: {getattr(self, name)} is not above 0")
        for name in ("weight_decay", "adam_beta1", "adam_beta2"):
            if not getattr(self, name) >= 0 or (name != "weight_decay" and getattr(self, name) >= 1):
                raise ListOpsError(f"{name}: {getattr(self, name)} is out of range; the default is {_default(name)}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ListOpsError(f"{name}: {getattr(self, name)!r} is none of {', '.join(choices)}")
        if self.n_embd % self.n_head:
            raise ListOpsError(f"n_head: {self.n_head} does not divide n_embd {self.n_embd}; 1 always does")
        if any(step < 0 for step in self.save_steps) or not self.save_steps:
            raise ListOpsError(
                f"save_steps: {self.save_steps} is not a list of steps; a right one is 0 or 0 1000 2000"
            )
        self._name_tasks()
        str(self.run_name)
        if self.hub_namespace is not None:
            dataset_repo(self.hub_namespace)

    def _name_tasks(self) -> None:
        """Writes each task as the name that its evaluations have, however it was given."""
        if self.curriculum is None:
            object.__setattr__(self, "task", self.schedule.tasks[0].name)
        else:
            knots = [
                knot | {"mix": {Task.from_name(task).name: weight for task, weight in knot["mix"].items()}}
                for knot in self.curriculum
            ]
            object.__setattr__(self, "curriculum", knots)

    @cached_property
    def schedule(self) -> Curriculum:
        """The curriculum of the run; one knot where it trains one task."""
        return Curriculum.from_config(self.task, self.curriculum)

    @property
    def tasks(self) -> list[Task]:
        """The tasks trained on, in the order in which they occur."""
        return self.schedule.tasks

    @property
    def positions(self) -> int:
        """`n_positions`, or the longest possible row of the tasks."""
        return self.n_positions or max(task.longest_row() for task in self.tasks)

    @property
    def run_name(self) -> RunName:
        return RunName(
            self.task or self.name or "curriculum", self.n_embd, self.n_layer, self.n_head, self.seed, self.variant
        )

    @property
    def folder(self) -> Path:
        return Path(self.output_dir or f"outputs/{self.run_name}")

    def to_dict(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @property
    def hash(self) -> str:
        """12 hexadecimal digits of the config without its output, logging and Hub fields."""
        hashed = {
            name: value
            for name, value in self.to_dict().items()
            if name not in NOT_HASHED and not (name in HASHED_IF_SET and value is None)
        }
        return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:12]

    def set_fields(self) -> dict[str, Any]:
        """The fields that differ from their defaults: what code of another version may be asked to run."""
        return {name: value for name, value in self.to_dict().items() if value != _default(name)}

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.to_dict(), sort_keys=False)


def _default(name: str) -> Any:
    field_ = RunConfig.__dataclass_fields__[name]
    return field_.default if field_.default_factory is dataclasses.MISSING else field_.default_factory()


@cache
def _hints() -> dict[str, Any]:
    return get_type_hints(RunConfig)


def _typed(name: str, value: Any) -> Any:
    """A field's value in its type: whole numbers and texts such as `3e-3` for fractions, one step for a list of steps.

    Raises:
        ListOpsError: it has another type.
    """
    hint = _hints()[name]
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] if get_origin(hint) is UnionType else [hint]
    kind = get_origin(kinds[0]) or kinds[0]
    if value is None and kinds != [hint]:
        return None
    if isinstance(value, bool) and kind is not bool:
        pass
    elif kind is float and isinstance(value, (int, float, str)):
        with contextlib.suppress(ValueError):  # YAML reads 3e-3 as a text
            return float(value)
    elif name == "save_steps":
        steps = [value] if isinstance(value, int) else value
        if isinstance(steps, list) and steps and all(isinstance(step, int) and step >= 0 for step in steps):
            return steps
    elif isinstance(value, kind):
        return value
    raise ListOpsError(f"{name}: {value!r} is not {_a_kind(kind)}; the default is {_default(name)!r}")


def _a_kind(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", list: "a list"}
    return names.get(kind, str(kind))


def read_mapping(path: Path, field: str, right_file: str, right_line: str) -> dict[str, Any]:
    """A YAML file that holds a mapping. Raises `ListOpsError`, naming `field`, if it is missing or holds anything else."""
    if not path.is_file():
        raise ListOpsError(f"{field}: {str(path)!r} does not exist; a right one is {right_file}")
    try:
        mapping = yaml.safe_load(path.read_text())
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ListOpsError(f"{field}: {str(path)!r} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(mapping, dict):
        raise ListOpsError(f"{field}: {str(path)!r} is not a mapping of fields; a right line is {right_line!r}")
    return mapping


def read_recipe(path: Path) -> dict[str, Any]:
    """The fields of a recipe. Raises `ListOpsError` for a missing file, bad YAML or an unknown field."""
    fields = read_mapping(path, "recipe", "recipes/quickstart.yaml", "n_embd: 32")
    check_fields(fields, f"recipe {str(path)!r}")
    if fields.get("curriculum") is not None:
        fields.setdefault("name", path.stem)
    return {name: _typed(name, value) for name, value in fields.items()}


def check_fields(fields: dict[str, Any], where: str) -> None:
    """Raises `ListOpsError` for a field that `RunConfig` does not have, suggesting the nearest."""
    known = [f.name for f in dataclasses.fields(RunConfig)]
    for name in fields:
        if name not in known:
            hint = did_you_mean(str(name), known) or f"; the fields are {', '.join(known)}"
            raise ListOpsError(f"{name}: {where} has an unknown field{hint}")


def parse_run_config(arguments: Sequence[str]) -> RunConfig:
    """The config of `RECIPE.yaml [--field value …]`; a flag wins over the recipe."""
    from transformers import HfArgumentParser

    class Parser(HfArgumentParser):  # type: ignore[misc] # transformers is not followed
        def error(self, message: str) -> Any:
            flag = message.removeprefix("unrecognized arguments: ").split()[0].removeprefix("--").split("=")[0]
            if message.startswith("unrecognized"):
                check_fields({flag: None}, "the command line")
            raise ListOpsError(f"arguments: {message}")

    recipe: dict[str, Any] = {}
    hints = _hints()
    arguments = list(arguments)
    if arguments and not arguments[0].startswith("-"):
        recipe = read_recipe(Path(arguments.pop(0)))
    # Knots are for recipes alone, so a curriculum is no flag.
    flags = [(f.name, hints[f.name], f) for f in dataclasses.fields(RunConfig) if f.name != "curriculum"]
    parser = Parser(
        dataclasses.make_dataclass("Flags", flags),
        prog="train.py",
        description="Trains one run: RECIPE.yaml, then any of these flags to override it.",
    )
    parser.set_defaults(**{name: value for name, value in recipe.items() if name != "curriculum"})
    given = vars(parser.parse_args(arguments))
    return RunConfig(**{**recipe, **given})
