import dataclasses
import math
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from hf_listops.errors import ListOpsError
from hf_listops.hub.names import RunName, parse_step_revision, step_revision
from hf_listops.training.config import NOT_HASHED, RunConfig, parse_run_config, read_recipe
from hf_listops.training.schedule import keeps_checkpoint, learning_rate_at

TASK = "sum-mod10-depth2"


def test_flags_win_over_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"task: {TASK}\nn_embd: 16\nlearning_rate: 1e-3\nbf16: true\nsave_steps: 100\n")
    config = parse_run_config(
        [str(recipe), "--n_embd", "48", "--n_head=2", "--save_steps", "0", "10", "20", "--resume"]
    )
    assert (config.n_embd, config.n_head, config.learning_rate) == (48, 2, 1e-3)
    assert (config.bf16, config.resume, config.save_steps) == (True, True, [0, 10, 20])
    assert str(config.run_name) == "sum-mod10-depth2-d48-l2-h2-s0"
    assert config.folder == Path("outputs/sum-mod10-depth2-d48-l2-h2-s0")
    assert parse_run_config([str(recipe), "--bf16", "false"]).bf16 is False
    assert parse_run_config(["--task", TASK]).n_embd == 32


def test_a_saved_config_is_a_recipe(tmp_path: Path) -> None:
    config = RunConfig(task=TASK, variant="init0.1", initializer_range=0.1, save_steps=[1, 2])
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    assert RunConfig(**read_recipe(tmp_path / "run.yaml")) == config


def test_a_curriculum_is_called_after_its_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "ramp.yaml"
    recipe.write_text(
        "curriculum:\n  - {step: 0, mix: {max-med-mod10-depth2: 1}}\n  - {step: 10, mix: {sum-mod10-depth2: 1}}\n"
    )
    config = parse_run_config([str(recipe), "--seed", "3"])
    assert str(config.run_name) == "ramp-d32-l2-h1-s3"
    assert [task.name for task in config.tasks] == ["max-med-mod10-depth2", TASK]


def test_the_hash_names_the_run() -> None:
    base = RunConfig(task=TASK)
    other = {"output_dir": "x", "resume": True, "save_steps": [5], "logging_steps": 1, "report_to": "tensorboard"}
    other |= {"save_state": True, "push_to_hub": True, "hub_namespace": "me"}
    assert set(other) == set(NOT_HASHED)
    assert dataclasses.replace(base, **other).hash == base.hash  # type: ignore[arg-type]
    changes = {"seed": 1, "n_embd": 16, "learning_rate": 1e-3, "dataset": "d", "loss_on": "all", "eval_steps": 7}
    changes |= {"base_model": "me/model"}
    hashes = {dataclasses.replace(base, **{name: value}).hash for name, value in changes.items()}  # type: ignore[arg-type]
    assert len(hashes | {base.hash}) == len(changes) + 1


def test_a_task_in_another_order_is_the_same_run(tmp_path: Path) -> None:
    """By the one name that its evaluations have too."""
    config = RunConfig(task="sum-max-mod10-depth2")
    assert config == RunConfig(task="max-sum-mod10-depth2")
    assert config.hash == RunConfig(task="max-sum-mod10-depth2").hash
    ramps = [
        RunConfig(curriculum=[{"step": 0, "mix": {f"{first}-mod10-depth2": 1}}, {"step": 9, "mix": {TASK: 1}}])
        for first in ("med-max", "max-med")
    ]
    assert ramps[0] == ramps[1]
    assert ramps[0].hash == ramps[1].hash


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--n_embdd", "3"], "n_embdd: the command line has an unknown field; did you mean 'n_embd'"),
        (["--n_embd", "x"], "n_embd"),
        (["nowhere.yaml"], "'nowhere.yaml' does not exist"),
        (
            ["--task", TASK, "--hub_namespace", "my org"],
            "hub_namespace: 'my org' is no owner of repos; a right one is",
        ),
        (["--task", "summ-mod10-depth2"], "did you mean 'SUM'"),
        (["--task", "sum-mod1-depth2"], "modulus: 1"),
        (["--task", "sum-mod10-depth2-args1"], "max_args: 1"),
        (["--task", TASK, "--n_head", "3"], "n_head: 3 does not divide n_embd 32"),
        (["--task", TASK, "--max_steps", "0"], "max_steps: 0"),
        (["--task", TASK, "--learning_rate", "0"], "learning_rate: 0.0"),
        (["--task", TASK, "--adam_beta2", "1"], "adam_beta2: 1.0"),
        (["--task", TASK, "--loss_on", "prompt"], "loss_on: 'prompt' is none of completion, all"),
        (["--task", TASK, "--report_to", "wandb"], "report_to: 'wandb'"),
        (["--task", TASK, "--variant", "A b"], "variant: 'A b'"),
        (["--task", TASK, "--save_steps", "-1"], "save_steps"),
        ([], "task: give either"),
    ],
)
def test_bad_arguments(arguments: list[str], says: str) -> None:
    with pytest.raises(ListOpsError) as error:
        parse_run_config(arguments)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("task: sum-mod10-depth2\nlearning_rat: 1", "did you mean 'learning_rate'"),
        ("n_embd: wide\ntask: sum-mod10-depth2", "n_embd: 'wide' is not a whole number"),
        ("n_embd: true\ntask: sum-mod10-depth2", "n_embd: True is not a whole number"),
        ("learning_rate: fast\ntask: sum-mod10-depth2", "learning_rate: 'fast' is not a number"),
        ("save_steps: [a]\ntask: sum-mod10-depth2", "save_steps"),
        ("task: [", "is not YAML"),
        ("- 3", "is not a mapping"),
        ("curriculum: 3", "is not a list"),
        ("curriculum:\n- {step: 0, mix: {sum-mod10-depth2: 1}}\ntask: sum-mod10-depth2", "give either"),
    ],
)
def test_bad_recipes(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ListOpsError) as error:
        parse_run_config([str(tmp_path / "recipe.yaml")])
    assert says in str(error.value)


def test_a_recipe_of_other_bytes(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(b"task: \xff\xfe")
    with pytest.raises(ListOpsError, match="is not YAML"):
        parse_run_config([str(tmp_path / "recipe.yaml")])


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_parses(recipe: Path) -> None:
    """Of one run, or of a sweep."""
    from hf_listops.sweep.grid import read_sweep

    if "\ngrids:" in recipe.read_text():
        grids = yaml.safe_load(recipe.read_text())["grids"]
        combinations = [math.prod(len(v) for v in grid.values() if isinstance(v, list)) for grid in grids]
        assert len(read_sweep(recipe).runs) == sum(combinations) > 1  # none twice
    else:
        assert parse_run_config([str(recipe)]).max_steps > 0


def test_run_names_are_inverse() -> None:
    for name in (
        RunName("sum-mod10-depth2", 32, 2, 1, 0),
        RunName("max-med-sum-mod26-depth3-args4-leftmost", 96, 3, 4, 12, "init0.1"),
        RunName("figure5", 48, 2, 1, 3, "a-b"),
    ):
        assert RunName.parse(str(name)) == name
    assert parse_step_revision(step_revision(2000)) == 2000
    for wrong in ("sum-mod10-depth2", "", "a-d1-l1-h1"):
        with pytest.raises(ListOpsError, match="a right one is"):
            RunName.parse(wrong)
    for wrong in ("step-", "step-01", "main", "step-1x"):
        with pytest.raises(ListOpsError, match="step-2000"):
            parse_step_revision(wrong)


def test_the_learning_rate() -> None:
    config = RunConfig(task=TASK, max_steps=1100, warmup_steps=100, learning_rate=1.0)
    assert learning_rate_at(config, 0) == pytest.approx(0.01)
    assert learning_rate_at(config, 99) == learning_rate_at(config, 100) == 1.0
    assert learning_rate_at(config, 600) == pytest.approx(0.55)
    assert learning_rate_at(config, 1100) == pytest.approx(0.1)
    linear = dataclasses.replace(config, lr_scheduler_type="linear")
    assert learning_rate_at(linear, 600) == pytest.approx(0.5)
    assert learning_rate_at(dataclasses.replace(config, lr_scheduler_type="constant"), 1099) == 1.0
    assert learning_rate_at(dataclasses.replace(config, warmup_steps=0), 0) == 1.0


def test_which_steps_are_kept() -> None:
    kept = [step for step in range(3001) if keeps_checkpoint([1000], step)]
    assert kept == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 3000]
    assert not any(keeps_checkpoint([0], step) for step in range(600))
    assert [step for step in range(100) if keeps_checkpoint([3, 0, 50], step)] == [0, 3, 50]
