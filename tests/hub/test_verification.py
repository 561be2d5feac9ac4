"""`hub verify`: every known defect planted, in a run's folder and in a repo, and found by name."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_client import REPO, STEPS, Client, ClientError, client_of, command, edit_manifest, flip_a_bit, push, sentence

from hf_listops.hub.card import card_files
from hf_listops.hub.manifest import MANIFEST
from hf_listops.hub.run_folder import read_config, read_metrics
from hf_listops.hub.server.serving import Running, running

ALL = [*(f"step-{step}" for step in STEPS), "main"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("hub") / "root", ["hf-listops:hf_ours:team7=write"]) as hub:
        yield hub


@pytest.fixture(scope="module")
def client(hub: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with client_of(hub, tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture(scope="module")
def published(client: Client, tiny_run: Path) -> str:
    assert client(push, tiny_run) == [REPO, 6, 6]
    return REPO


def verify(name: str) -> Any:
    """In a client: by revision its problems, and how many accuracies were computed anew."""
    from hf_listops.training.verification import verify

    return {of.revision: [of.accuracies, list(of.problems)] for of in verify(name, progress=False)}


def replay(name: str, start: str, end: str) -> Any:
    """In a client."""
    from hf_listops.training.verification import replay

    done = replay(name, start, end, progress=False)
    return done.steps, done.apart == 0, done.is_right


def step(folder: Path, number: int) -> Path:
    return folder / "steps" / f"step-{number}"


def exchange(one: Path, other: Path) -> None:
    one.rename(one.with_name("scratch"))
    other.rename(one)
    one.with_name("scratch").rename(other)


def test_a_clean_run_and_repo_are_right(client: Client, published: str, tiny_run: Path) -> None:
    for name in (str(tiny_run), published):
        found = client(verify, name)
        assert list(found) == ALL
        assert [problems for _, problems in found.values()] == [[]] * 6
        counts = {revision: count for revision, (count, _) in found.items()}
        # Two of a scheduled evaluation; at the end also rows, three accuracies and two depths of two splits.
        assert counts == {"step-0": 2, "step-1": 0, "step-2": 0, "step-4": 0, "step-60": 2, "main": 2 + 2 * 6}
        code, out, error = client(command, "hub", "verify", name)
        assert code == 0, error
        assert out.splitlines()[0] == f"{name} step-0: 2 accuracies recomputed, right"
        assert len(out.splitlines()) == 6
    # In the namespace of an owner whose name holds a number; the folder's own card names another owner.
    client(push, tiny_run, "team7")
    found = client(verify, published.replace("hf-listops/", "team7/"))
    assert [problems for _, problems in found.values()] == [[]] * 6


def swap(run: Path) -> None:
    exchange(step(run, 1), step(run, 2))


def swap_weights(run: Path) -> None:
    shutil.copy(run / "model.safetensors", run / "kept")
    shutil.copy(step(run, 60) / "model.safetensors", run)
    (run / "kept").rename(step(run, 60) / "model.safetensors")
    mend(run)
    edit_manifest(step(run, 60))


def add_a_shard(run: Path) -> None:
    shutil.copy(step(run, 1) / "model.safetensors", step(run, 2) / "model-00001-of-00002.safetensors")


def keep_old_weights(run: Path) -> None:
    shutil.copy(step(run, 1) / "model.safetensors", step(run, 2))


def keep_old_weights_and_fix(run: Path) -> None:
    keep_old_weights(run)
    edit_manifest(step(run, 2))


def edit_card(run: Path) -> None:
    card = step(run, 60) / "README.md"
    text = card.read_text()
    assert "| 0.017 |" in text
    card.write_text(text.replace("| 0.017 |", "| 0.917 |", 1))


def edit_card_and_fix(run: Path) -> None:
    edit_card(run)
    edit_manifest(step(run, 60))


def edit_metrics(run: Path) -> None:
    """An accuracy, and everything that follows from it: only computing it anew finds that."""
    folder = step(run, 60)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lines[-1]["exact_match"]["sum-mod10-depth2"] = 0.9
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    facts = json.loads((folder / "manifest.json").read_text())
    del facts["files"]
    for path, content in card_files(read_config(folder), read_metrics(folder), facts, REPO).items():
        (folder / path).write_bytes(content)
    assert "0.9" in (folder / "README.md").read_text()
    edit_manifest(folder)


def edit_results(run: Path) -> None:
    path = run / ".eval_results" / "listops.yaml"
    path.write_text(re.sub(r"value: .*", "value: 1.0", path.read_text()))
    mend(run)


def mend(run: Path) -> None:
    """Makes the hashes of the root's manifest right; the folder holds more than its files."""
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in manifest["files"]}
    path.write_text(json.dumps(manifest))


def perturb(run: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(run / "model.safetensors")
    weights["transformer.wte.weight"] = torch.roll(weights["transformer.wte.weight"], 1, 0)
    save_file(weights, run / "model.safetensors", {"format": "pt"})
    mend(run)


def edit_manifest_file(number: int, **changes: Any) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        path = step(run, number) / "manifest.json"
        manifest = json.loads(path.read_text())
        files = {**manifest["files"], **changes.pop("files", {})}
        manifest = {**manifest, **changes, "files": files}
        path.write_text(json.dumps({name: value for name, value in manifest.items() if value is not None}))

    return edit


def start_elsewhere(run: Path) -> None:
    flip_a_bit(step(run, 0) / "model.safetensors")
    edit_manifest(step(run, 0))


def lose(run: Path) -> None:
    shutil.rmtree(step(run, 2))


def tear(run: Path) -> None:
    (step(run, 2) / "manifest.json").write_text("{")


# Defects of different revisions, planted together; what they are found by, and nothing else is.
DEFECTS: list[tuple[list[Callable[[Path], None]], dict[str, str]]] = [
    (
        [swap, edit_manifest_file(4, step=3), edit_card, perturb],
        {
            "step-1": "it is the checkpoint of step 2",
            "step-2": "it is the checkpoint of step 1",
            "step-4": "it is the checkpoint of step 3",
            "step-60": r"README\.md differs from manifest\.json",
            "main": r"final .* is .*, the card says|exact_match .* is .*, the card says",
        },
    ),
    (
        [swap_weights, add_a_shard, edit_manifest_file(4, tokens=1)],
        {
            "step-2": r"model-00001-of-00002\.safetensors is not in manifest\.json",
            "step-4": "README.md shows other numbers",
            "step-60": r"exact_match sum-mod10-depth2 is 0\.05, the card says 0\.0166",
            "main": r"exact_match sum-mod10-depth2 is 0\.0166.*, the card says 0\.05",
        },
    ),
    (
        [keep_old_weights, edit_card_and_fix, edit_manifest_file(4, files={"config.json": "0" * 64})],
        {
            "step-2": r"model\.safetensors differs from manifest\.json",
            "step-4": r"config\.json differs from manifest\.json",
            "step-60": r"README\.md shows other numbers",
        },
    ),
    (
        [start_elsewhere, keep_old_weights_and_fix, edit_manifest_file(4, files={"more.bin": "0" * 64}), edit_metrics],
        {
            "step-0": "its weights are not those that its seed, or its base model, gives",
            "step-2": "its weights are those of step-1",
            "step-4": r"more\.bin is missing",
            "step-60": r"exact_match sum-mod10-depth2 is 0\.0166.*, the card says 0\.9",
        },
    ),
    (
        [tear, edit_manifest_file(4, run=None), edit_results],
        {
            "step-2": r"manifest\.json is missing, or lacks files, step, run or hash",
            "step-4": r"manifest\.json is missing, or lacks files, step, run or hash",
            "main": r"\.eval_results/listops\.yaml shows other numbers",
        },
    ),
    (
        [lose, edit_manifest_file(4, hash="0123456789ab")],
        {"step-4": r"README\.md shows other numbers", "main": "the run kept step-2, which is missing"},
    ),
    ([edit_manifest_file(4, run="max-mod10-depth2-d8-l2-h1-s7")], {"step-4": r"README\.md shows other numbers"}),
]


def names_of(value: Any) -> str:
    return "+".join(plant.__name__ for plant in value) if isinstance(value, list) else ""


@pytest.mark.parametrize(("plants", "expected"), DEFECTS, ids=names_of)
def test_defects_in_a_folder_are_found(
    client: Client, tiny_run: Path, tmp_path: Path, plants: list[Callable[[Path], None]], expected: dict[str, str]
) -> None:
    run = tmp_path / "tiny"
    shutil.copytree(tiny_run, run)
    for plant in plants:
        plant(run)
    found = client(verify, str(run))
    for revision, pattern in expected.items():
        assert re.search(pattern, "; ".join(found[revision][1])), found
    assert {revision for revision, (_, problems) in found.items() if problems} == set(expected)


def test_a_revision_of_another_run(client: Client, tiny_run: Path, dataset: Path, tmp_path: Path) -> None:
    run, other = tmp_path / "tiny", tmp_path / "other"
    shutil.copytree(tiny_run, run)
    words = ["train.py", "--task", "sum-mod10-depth2", "--dataset", str(dataset), "--n_embd", "8", "--seed", "1"]
    code, _, error = client(command, *words, "--max_steps", "2", "--save_steps", "1", "--output_dir", str(other))
    assert code == 0, error
    shutil.rmtree(step(run, 2))
    shutil.copytree(step(other, 2), step(run, 2))
    found = client(verify, str(run))
    assert re.search("it belongs to the run sum-mod10-depth2-d8-l2-h1-s1 ", "; ".join(found["step-2"][1]))
    assert [revision for revision, (_, problems) in found.items() if problems] == ["step-2"]
    assert "verify: 1 revisions are not what they say" in sentence(client, "hub", "verify", run)


def test_replay(client: Client, published: str, tiny_run: Path, tmp_path: Path) -> None:
    assert client(replay, str(tiny_run), "step-0", "step-4") == [4, True, True]
    assert client(replay, published, "step-2", "step-4") == [2, True, True]
    assert client(replay, published, "step-60", "main") == [60, True, True]
    code, out, error = client(command, "hub", "verify", str(tiny_run), "--replay", "step-1", "step-2")
    assert code == 0, error
    assert out.splitlines()[-1] == f"{tiny_run} step-1 to step-2: 1 steps replayed, the same weights, bit for bit"

    run = tmp_path / "tiny"
    shutil.copytree(tiny_run, run)
    flip_a_bit(step(run, 2) / "model.safetensors")
    edit_manifest(step(run, 2))
    assert client(verify, str(run))["step-2"] == [0, []]  # not evaluated there, so only a replay can see it
    assert client(replay, str(run), "step-1", "step-2") == [1, False, False]
    assert f"not what they say: {run} step-2" in sentence(client, "hub", "verify", run, "--replay", "step-1", "step-2")
    for folder in (step(run, number) for number in (1, 2)):  # as if another processor had made them
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["versions"]["processor"] += " of another kind"
        (folder / MANIFEST).write_text(json.dumps(manifest))
    assert client(replay, str(run), "step-1", "step-2") == [1, False, True]
    code, out, error = client(command, "hub", "verify", str(run), "--replay", "step-1", "step-2")
    assert code == 0, out + error
    assert out.splitlines()[-1].endswith("of the way apart, as another processor rounds")
    shutil.copy(step(run, 4) / "model.safetensors", step(run, 2) / "model.safetensors")
    edit_manifest(step(run, 2))
    assert client(replay, str(run), "step-1", "step-2") == [1, False, False]
    with pytest.raises(ClientError, match="replay: the weights of 'step-2' are not those that its state, or its seed"):
        client(replay, str(run), "step-2", "step-4")
    (step(run, 1) / "state.safetensors").unlink()
    for start, end, says in (
        ("step-1", "step-2", "'step-1' keeps no state; start at step-0"),
        ("step-4", "step-4", "'step-4' is not behind 'step-4'"),
        ("step-4", "step-2", "'step-2' is not behind 'step-4'"),
        ("step-0", "step-3", f"has no 'step-3'; it has {', '.join(ALL)}"),
    ):
        with pytest.raises(ClientError, match=f"ListOpsError: replay: .*{re.escape(says)}"):
            client(replay, str(run), start, end)


def test_a_model_that_starts_from_another(
    client: Client, published: str, tiny_run: Path, dataset: Path, tmp_path: Path
) -> None:
    words = [
        "train.py",
        "--task",
        "sum-mod10-depth2",
        "--dataset",
        str(dataset),
        "--save_steps",
        "1",
        "--max_steps",
        "2",
    ]
    base = ["--base_model", f"{published}@step-60", "--variant", "child"]
    run = tmp_path / "run"
    code, _, error = client(command, *words, *base, "--n_embd", "8", "--output_dir", str(run))
    assert code == 0, error
    before, after = (folder / "model.safetensors" for folder in (step(tiny_run, 60), step(run, 0)))
    assert after.read_bytes() == before.read_bytes()
    assert re.search(rf"^base_model: {published}$", (run / "README.md").read_text(), re.MULTILINE)
    assert [problems for _, problems in client(verify, str(run)).values()] == [[]] * 4
    says = sentence(client, *words, *base, "--n_embd", "16", "--output_dir", str(tmp_path / "wide"))
    assert f"base_model: '{published}@step-60' has n_embd 8, the run 16; both must be alike" in says
    assert not (tmp_path / "wide").exists()


def test_defects_in_a_repo_are_found(client: Client, published: str) -> None:
    """Last: it spoils the repo, by ordinary uploads to its branches."""

    def spoil(repo: str) -> None:
        import json
        from pathlib import Path

        from huggingface_hub import HfApi, snapshot_download

        api = HfApi()

        def upload(content: bytes, path: str, revision: str) -> None:
            api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=repo, revision=revision)

        one, two = (Path(snapshot_download(repo, revision=revision)) for revision in ("step-1", "step-2"))
        for folder, revision in ((one, "step-2"), (two, "step-1")):
            api.upload_folder(folder_path=folder, repo_id=repo, revision=revision)
        upload(b"old", "model-00001-of-00002.safetensors", "step-4")
        card = (Path(snapshot_download(repo, revision="step-60")) / "README.md").read_text()
        upload(card.replace("| 0.017 |", "| 0.917 |", 1).encode(), "README.md", "step-60")
        manifest = json.loads((Path(snapshot_download(repo)) / "manifest.json").read_text())
        manifest["files"]["config.json"] = "0" * 64
        upload(json.dumps(manifest).encode(), "manifest.json", "main")

    client(spoil, published)
    found = {revision: "; ".join(problems) for revision, (_, problems) in client(verify, published).items()}
    expected = {
        "step-0": "^$",
        "step-1": "it is the checkpoint of step 2",
        "step-2": "it is the checkpoint of step 1",
        "step-4": "model-00001-of-00002.safetensors is not in manifest.json",
        "step-60": r"README\.md differs from manifest",
        "main": r"config\.json differs from manifest",
    }
    for revision, pattern in expected.items():
        assert re.search(pattern, found[revision]), found
    said = sentence(client, "hub", "verify", published)
    assert "verify: 5 revisions are not what they say" in said

    def unfinish(repo: str) -> None:
        from huggingface_hub import HfApi

        HfApi().delete_file("manifest.json", repo)
        HfApi().delete_branch(repo, branch="step-2")

    client(unfinish, published)
    found = {revision: "; ".join(problems) for revision, (_, problems) in client(verify, published).items()}
    assert "manifest.json is missing" in found["main"]
    assert "step-2" not in found


def test_names_that_cannot_be_verified(client: Client, tmp_path: Path) -> None:
    for name, says in (
        (f"{REPO}@step-1", "names one revision; leave '@step-1' out"),
        ("hf-listops/none", "model: there is no 'hf-listops/none' at"),
        ("no/such/folder", "is neither a folder nor a name on the Hub; a right one is"),
        (str(tmp_path), "holds no checkpoint; a right one is a folder that train.py wrote"),
    ):
        assert says in sentence(client, "hub", "verify", name)
