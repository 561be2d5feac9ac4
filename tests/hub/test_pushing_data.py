"""Built datasets on the Hub: the very bytes, once, config by config; read, checked and trained on by name."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_client import Client, Fault, Weather, client_of, command, hub_with_weather, sentence, train_until

from hf_listops.data.build import build
from hf_listops.language import Task

REPO = "hf-listops/listops"
FIRST, SECOND, THIRD = "sum-mod10-depth2", "max-mod10-depth2", "med-mod10-depth2"
SPLITS = ["test", "test_deeper", "test_unseen_calls", "train", "validation"]


@pytest.fixture(scope="module")
def weather_and_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Weather, Client]]:
    folder = tmp_path_factory.mktemp("hub")
    with hub_with_weather(folder / "root") as (hub, weather), client_of(hub, folder / "home") as client:
        yield weather, client


@pytest.fixture(scope="module")
def client(weather_and_client: tuple[Weather, Client]) -> Client:
    return weather_and_client[1]


@pytest.fixture(scope="module")
def folder(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that may be spoiled."""
    return Path(shutil.copytree(dataset, tmp_path_factory.mktemp("copy") / "listops"))


def push_data(client: Client, folder: Path, *words: str) -> str:
    code, out, error = client(command, "data", "push", *words, "--out", str(folder))
    assert code == 0, error
    return str(out).rpartition(": ")[2].strip()


def repo_of(repo: str) -> Any:
    """In a client: the hash of every file of a dataset's main, and the titles of its commits from the first on."""
    import hashlib
    from pathlib import Path

    from huggingface_hub import HfApi

    api = HfApi()
    folder = Path(api.snapshot_download(repo, repo_type="dataset"))
    files = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
    commits = list(reversed(api.list_repo_commits(repo, repo_type="dataset")))
    card = (folder / "README.md").read_text() if "README.md" in files else ""
    return files, [commit.title for commit in commits], commits[-1].commit_id, card


def configs_of(card: str) -> list[str]:
    return [config["config_name"] for config in yaml.safe_load(card.split("---\n")[1])["configs"]]


def test_the_built_files_in_one_commit(
    weather_and_client: tuple[Weather, Client], folder: Path, dataset: Path, tmp_path: Path
) -> None:
    weather, client = weather_and_client
    assert push_data(client, folder, FIRST, SECOND) == "2 of 2 configs added"
    files, titles, commit, card = client(repo_of, REPO)
    expected = {f"{name}/{split}-00000-of-00001.parquet" for name in (FIRST, SECOND) for split in SPLITS}
    assert set(files) == {*expected, "README.md", "listops.json", ".gitattributes"}
    for path in expected:
        assert files[path] == hashlib.sha256((folder / path).read_bytes()).hexdigest()
    assert len(titles) == 2
    assert configs_of(card) == [SECOND, FIRST]

    assert push_data(client, folder, FIRST, SECOND) == "0 of 2 configs added"
    assert client(repo_of, REPO)[2] == commit

    # A further config; the answer to its commit is lost, and nothing is done twice.
    weather.faults.append(Fault("POST .*/commit/main", 503, after=True, headers={"Retry-After": "0"}))
    push_data(client, folder, THIRD, FIRST)
    assert weather.faults[0].times == 0
    more, titles, _, card = client(repo_of, REPO)
    assert {path: more[path] for path in expected} == {path: files[path] for path in expected}
    assert (len(titles), titles[-1]) == (3, f"Add {THIRD}")
    assert configs_of(card) == [SECOND, THIRD, FIRST]

    def load(repo: str, config: str) -> Any:
        import datasets

        rows = datasets.load_dataset(repo, config, split="validation")
        return datasets.get_dataset_config_names(repo), list(rows.features), rows[:3]

    names, columns, rows = client(load, REPO, THIRD)
    assert names == [SECOND, THIRD, FIRST]
    assert columns == ["prompt", "completion", "answer", "operations", "depth", "num_tokens"]
    import pyarrow.parquet as pq

    assert rows == pq.read_table(folder / THIRD / "validation-00000-of-00001.parquet").slice(0, 3).to_pydict()
    code, out, error = client(command, "data", "check", REPO, "--config", FIRST)
    assert (code, out) == (0, f"{FIRST}: 3,480 rows are right\n"), error


def test_other_rows_are_refused(client: Client, folder: Path, tmp_path: Path) -> None:
    if client(repo_of_or_none, REPO) is None:
        push_data(client, folder, FIRST)
    before = client(repo_of, REPO)
    task = Task.from_name(FIRST)
    build([task], tmp_path / "small", train_rows=100, evaluation_rows=20, progress=False)
    said = sentence(client, "data", "push", FIRST, "--out", tmp_path / "small")
    assert f"repo: '{REPO}' holds a dataset with train_rows 3000, not 100; choose another with --repo" in said
    build([task], tmp_path / "seed", seed=1, train_rows=3000, evaluation_rows=120, progress=False)
    assert "holds a dataset with seed 0, not 1" in sentence(client, "data", "push", FIRST, "--out", tmp_path / "seed")
    torn = Path(shutil.copytree(folder, tmp_path / "torn")) / FIRST / "test-00000-of-00001.parquet"
    torn.write_bytes(torn.read_bytes()[:-1])
    assert "is missing or differs from listops.json" in sentence(
        client, "data", "push", FIRST, "--out", tmp_path / "torn"
    )
    for repo, says in (("a/b/c", "dataset: 'a/b/c' is neither"), ("alice/listops", r"dataset: .* \(HTTP 403\)")):
        assert re.search(says, sentence(client, "data", "push", FIRST, "--out", folder, "--repo", repo))
    assert client(repo_of, REPO) == before
    assert push_data(client, tmp_path / "small", FIRST, "--repo", "hf-listops/small") == "1 of 1 configs added"


def repo_of_or_none(repo: str) -> Any:
    """In a client."""
    from huggingface_hub import HfApi

    return repo if HfApi().repo_exists(repo, repo_type="dataset") else None


def test_training_on_a_dataset_by_name(client: Client, folder: Path, tmp_path: Path) -> None:
    """Its commit is found once; a run goes on when the repo has moved, but not when the rows are others."""
    repo = "hf-listops/moving"
    push_data(client, folder, FIRST, "--repo", repo)
    first = client(repo_of, repo)[2]

    def words(run: str, dataset: str) -> list[str]:
        fields = {"task": FIRST, "n_embd": 8, "max_steps": 20, "eval_steps": 10, "eval_rows": 20, "batch_size": 8}
        flags = [part for name, value in fields.items() for part in (f"--{name}", str(value))]
        return ["train.py", *flags, "--save_steps", "4", "--dataset", dataset, "--output_dir", str(tmp_path / run)]

    def revision(folder: Path) -> Any:
        return json.loads((folder / "manifest.json").read_text())["data_revision"]

    def train_while_it_moves(folder: str, config: str, repo: str, *arguments: str) -> Any:
        """The repo gets another config after step 2."""
        import runpy
        import sys
        from pathlib import Path

        from hf_listops.hub.pushing_data import push_data
        from hf_listops.language import Task
        from hf_listops.training.run import Training

        update = Training.update

        def moving(self: Any) -> None:
            update(self)
            if self.step == 2:
                push_data([Task.from_name(config)], Path(folder), repo)

        Training.update = moving
        sys.argv = list(arguments)
        try:
            runpy.run_path("train.py", run_name="__main__")
        except SystemExit as end:
            return end.code
        finally:
            Training.update = update

    assert client(train_while_it_moves, folder, SECOND, repo, *words("moved", repo)) == 0
    assert {revision(path.parent) for path in (tmp_path / "moved").rglob("manifest.json")} == {first}
    second = client(repo_of, repo)[2]
    assert second != first

    assert client(train_until, 6, *words("pinned", f"{repo}@{first}")) == 0
    assert client(train_until, 6, *words("latest", repo)) == 0
    assert revision(tmp_path / "latest" / "steps" / "step-4") == second
    push_data(client, folder, THIRD, "--repo", repo)
    code, _, error = client(command, *words("latest", repo), "--resume")
    assert code == 0, error
    assert revision(tmp_path / "latest") == client(repo_of, repo)[2]
    weights = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("moved", "latest")]
    assert weights[0] == weights[1]

    def replace_rows(repo: str, path: str, source: str) -> None:
        from huggingface_hub import HfApi

        HfApi().upload_file(path_or_fileobj=source, path_in_repo=path, repo_id=repo, repo_type="dataset")

    assert client(train_until, 6, *words("stale", repo)) == 0
    path = f"{FIRST}/train-00000-of-00001.parquet"
    build([Task.from_name(FIRST)], tmp_path / "seed", seed=1, train_rows=3000, evaluation_rows=120, progress=False)
    client(replace_rows, repo, path, tmp_path / "seed" / path)
    said = sentence(client, *words("stale", repo), "--resume")
    assert f"dataset: the rows of '{repo}' are not those that the run began with; name the revision" in said
    code, _, error = client(command, *words("pinned", f"{repo}@{first}"), "--resume")
    assert code == 0, error
    assert (tmp_path / "pinned" / "model.safetensors").read_bytes() == weights[0]
    assert revision(tmp_path / "pinned") == first
