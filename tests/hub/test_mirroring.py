"""Copying repos between two embedded Hubs, compared by downloading all files of all revisions from both."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hub_client import Client, Fault, Weather, client_of, command, hub_with_weather, sentence

OURS, THEIRS = "hf_ours", "hf_theirs"
MODEL, DATASET, SPACE = "hf-listops/model", "hf-listops/data", "hf-listops/space"


@dataclass
class Two:
    source: str
    destination: str
    weather: Weather  # of the destination
    client: Client

    def mirror(self, *arguments: str, token: str = f"HF_TOKEN={THEIRS}") -> str:
        code, out, error = self.client(command, token, "hub", "mirror", self.source, self.destination, *arguments)
        assert code == 0, error
        return str(out)

    def refused(self, *arguments: str) -> str:
        return sentence(self.client, f"HF_TOKEN={THEIRS}", "hub", "mirror", self.source, self.destination, *arguments)

    def contents(self, repo: str, kind: str = "model") -> tuple[Any, Any]:
        """What both Hubs have of a repo."""
        ours = self.client(contents, self.source, OURS, repo, kind)
        return ours, self.client(contents, self.destination, THEIRS, repo, kind)

    def forget(self, repo: str) -> None:
        self.weather.faults.clear()
        self.client(forget, self.destination, THEIRS, repo)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp("two")
    with (
        hub_with_weather(folder / "source", (f"hf-listops:{OURS}",)) as (source, _),
        hub_with_weather(folder / "destination", (f"hf-listops:{THEIRS}:team=write",)) as (destination, weather),
        client_of(source, folder / "home", HF_TOKEN="") as client,
    ):
        client(fill, source.endpoint, OURS, MODEL, DATASET, SPACE)
        yield Two(source.endpoint, destination.endpoint, weather, client)


def fill(endpoint: str, token: str, model: str, dataset: str, space: str) -> None:
    """In a client: makes repos with everything that a repo can have."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(endpoint=endpoint, token=token)
    api.create_repo(model)
    first = api.list_repo_commits(model)[0].commit_id

    def commit(branch: str, title: str, files: dict[str, bytes], removed: tuple[str, ...] = (), **more: Any) -> None:
        adds = [CommitOperationAdd(path, content) for path, content in files.items()]
        removals = [CommitOperationDelete(path) for path in removed]
        api.create_commit(model, [*adds, *removals], commit_message=title, revision=branch, **more)

    commit(
        "main", "All of it", {"config.json": b"{}", "model.safetensors": b"weights"}, commit_description="Two\nlines"
    )
    api.create_tag(model, tag="v1")
    commit("main", "A card", {"README.md": b"# Model\n", "deep/er/file.txt": b"text"})
    api.create_branch(model, branch="step-1", revision=first)
    commit("step-1", "step-1", {"model.safetensors": b"one", "old.txt": b"old"})
    api.create_branch(model, branch="step-2", revision="step-1")
    commit("step-2", "step-2", {"model.safetensors": b"two"}, ("old.txt",))
    api.create_branch(model, branch="exp/squashed", revision="step-2")
    commit("exp/squashed", "lost", {"a.txt": b"a"})
    api.create_tag(model, tag="kept", revision="exp/squashed")  # of a commit that soon is on no branch
    commit("exp/squashed", "lost too", {"b.txt": b"b"})
    api.super_squash_history(model, branch="exp/squashed", commit_message="all in one")
    api.create_repo(dataset, repo_type="dataset", private=True)
    api.upload_file(path_or_fileobj=b"PAR1", path_in_repo="a/b.parquet", repo_id=dataset, repo_type="dataset")
    api.create_repo(space, repo_type="space", space_sdk="static")
    api.upload_file(path_or_fileobj=b"<html>", path_in_repo="index.html", repo_id=space, repo_type="space")


def contents(endpoint: str, token: str, repo: str, kind: str) -> Any:
    """In a client: by branch and tag the hash of every file; by branch the titles and descriptions of its commits."""
    import hashlib
    from pathlib import Path

    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint, token=token)
    refs = api.list_repo_refs(repo, repo_type=kind)
    files = {}
    for ref in [*refs.branches, *refs.tags]:
        folder = Path(api.snapshot_download(repo, repo_type=kind, revision=ref.name))
        paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".gitattributes"]
        files[ref.name] = {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
        }
    commits = {
        ref.name: [
            [commit.title, commit.message.partition("Mirrored-from: ")[0].strip()]
            for commit in reversed(api.list_repo_commits(repo, repo_type=kind, revision=ref.name))
        ]
        for ref in refs.branches
    }
    tags = sorted(ref.name for ref in refs.tags)
    return files, commits, tags


def forget(endpoint: str, token: str, repo: str) -> None:
    """In a client."""
    from huggingface_hub import HfApi

    HfApi(endpoint=endpoint, token=token).delete_repo(repo, missing_ok=True)


def is_the_same(two: Two, repo: str = MODEL) -> None:
    (files, commits, tags), (their_files, their_commits, their_tags) = two.contents(repo)
    assert their_files == files
    assert their_tags == tags == ["kept", "v1"]
    # A squashed history has no first commit; every new repo has one.
    commits["exp/squashed"] = [*commits["main"][:1], *commits["exp/squashed"]]
    assert their_commits == commits
    assert [title for title, _ in commits["step-2"]] == ["initial commit", "step-1", "step-2"]
    assert commits["main"][1] == ["All of it", "Two\nlines"]


def test_a_model_with_branches_tags_and_a_squashed_history(two: Two) -> None:
    out = two.mirror(MODEL)
    assert out == f"{two.destination}/{MODEL}: 6 commits added, 6 revisions are the same\n"
    is_the_same(two)
    before = two.contents(MODEL)
    two.weather.requests.clear()
    assert two.mirror(MODEL) == f"{two.destination}/{MODEL}: 0 commits added, 6 revisions are the same\n"
    assert two.contents(MODEL) == before
    assert not [r for r in two.weather.requests if re.match(r"POST .*/(commit|branch|tag)/|PUT ", r)]


@pytest.mark.parametrize(
    "fault",
    [
        "POST .*/commit/main",
        "POST .*/branch/step-1",
        "PUT ",
        "POST .*/commit/step-2",
        "POST .*/branch/exp",
        "POST .*/tag/",
        "DELETE .*/branch/mirroring-kept",
    ],
)
def test_a_copy_that_was_cut_off_goes_on(two: Two, fault: str) -> None:
    two.forget(MODEL)
    two.weather.faults.append(Fault(fault, 403))
    assert "HTTP 403" in two.refused(MODEL)
    assert [fault.times for fault in two.weather.faults] == [0]
    two.mirror(MODEL)
    is_the_same(two)


def test_lost_answers(two: Two) -> None:
    two.forget(MODEL)
    for request in ("/repos/create", "/commit/main", "/branch/step-1", "/commit/step-2", "/tag/"):
        two.weather.faults.append(Fault(f"POST .*{request}", 503, after=True, headers={"Retry-After": "0"}))
    two.mirror(MODEL)
    assert [fault.times for fault in two.weather.faults] == [0] * 5
    is_the_same(two)


def test_to_another_namespace_and_what_is_new_in_the_source(two: Two) -> None:
    def go_on(endpoint: str, token: str, repo: str) -> None:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=endpoint, token=token)
        api.create_repo(repo)
        api.upload_file(path_or_fileobj=b"1", path_in_repo="a.bin", repo_id=repo)

    def one_more(endpoint: str, token: str, repo: str) -> None:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=endpoint, token=token)
        api.create_branch(repo, branch="step-3")
        api.upload_file(path_or_fileobj=b"3", path_in_repo="a.bin", repo_id=repo, revision="step-3")

    two.client(go_on, two.source, OURS, "hf-listops/grows")
    words = ("hf-listops/grows", "--hub_namespace", "team", "--private")
    assert two.mirror(*words) == f"{two.destination}/team/grows: 1 commits added, 1 revisions are the same\n"
    two.client(one_more, two.source, OURS, "hf-listops/grows")
    assert two.mirror(*words) == f"{two.destination}/team/grows: 1 commits added, 2 revisions are the same\n"
    ours = two.client(contents, two.source, OURS, "hf-listops/grows", "model")
    assert two.client(contents, two.destination, THEIRS, "team/grows", "model") == ours
    # A copy of the copy goes on too, though its commits say that they copy two others.
    back = ("hub", "mirror", two.destination, two.source, "team/grows", "--hub_namespace", "hf-listops")
    two.client(forget, two.source, OURS, "hf-listops/grows")
    tokens = {"HF_SOURCE_TOKEN": THEIRS, "HF_TOKEN": OURS}
    for added in (2, 0):
        code, out, error = two.client(command_with, tokens, *back)
        assert code == 0, error
        assert f"{added} commits added" in out
    assert two.client(contents, two.source, OURS, "hf-listops/grows", "model") == ours


def command_with(variables: dict[str, str], *arguments: str) -> Any:
    """In a client: `hf-listops …` with variables of the environment."""
    import contextlib
    import io
    import os

    from hf_listops.cli import main

    os.environ.update(variables)
    out, error = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code or 0
        finally:
            for name in variables:
                os.environ[name] = ""
                if name == "HF_SOURCE_TOKEN":
                    del os.environ[name]
    return code, out.getvalue(), error.getvalue()


def test_a_private_dataset_and_a_space(two: Two) -> None:
    assert f"dataset: there is no '{DATASET}' at {two.source}" in two.refused(DATASET, "--repo_type", "dataset")
    words = ("hub", "mirror", two.source, two.destination)
    tokens = {"HF_SOURCE_TOKEN": OURS, "HF_TOKEN": THEIRS}
    code, _, error = two.client(command_with, tokens, *words, DATASET, "--repo_type", "dataset")
    assert code == 0, error
    ours, theirs = two.contents(DATASET, "dataset")
    assert theirs == ours

    def is_private(endpoint: str, token: str, repo: str) -> Any:
        from huggingface_hub import HfApi

        return HfApi(endpoint=endpoint, token=token).dataset_info(repo).private

    assert two.client(is_private, two.destination, THEIRS, DATASET) is True
    two.mirror(SPACE, "--repo_type", "space")
    ours, theirs = two.contents(SPACE, "space")
    assert theirs == ours

    def sdk(endpoint: str, repo: str) -> Any:
        from huggingface_hub import HfApi

        return HfApi(endpoint=endpoint).space_info(repo).sdk

    assert two.client(sdk, two.destination, SPACE) == "static"


def test_what_is_refused(two: Two, tmp_path: Path) -> None:
    def begin(endpoint: str, token: str, repo: str) -> Any:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=endpoint, token=token)
        api.create_repo(repo)
        api.upload_file(path_or_fileobj=b"mine", path_in_repo="notes.txt", repo_id=repo)

    two.client(begin, two.destination, THEIRS, "team/model")
    before = two.client(contents, two.destination, THEIRS, "team/model", "model")
    assert "holds commits that" in two.refused(MODEL, "--hub_namespace", "team")
    assert two.client(contents, two.destination, THEIRS, "team/model", "model") == before
    assert "model: there is no 'hf-listops/none'" in two.refused("hf-listops/none")
    assert "is neither a folder nor a name on the Hub" in two.refused("a/b/c")
    assert "HTTP 403" in two.refused(MODEL, "--hub_namespace", "strangers")
    dead = ("hub", "mirror", "http://127.0.0.1:9", two.destination, MODEL)

    def at_once() -> None:
        from hf_listops.hub import api

        api.persistently.__defaults__ = (0.01,)

    two.client(at_once)
    assert "endpoint: http://127.0.0.1:9 cannot be reached" in sentence(two.client, *dead)
    turned = ("hub", "mirror", two.source, "http://127.0.0.1:9", MODEL)
    assert "endpoint: http://127.0.0.1:9 cannot be reached" in sentence(two.client, *turned)
    wrong = sentence(two.client, "HF_TOKEN=hf_wrong", "hub", "mirror", two.source, two.destination, MODEL)
    assert f"token: HF_TOKEN is not accepted at {two.destination}" in wrong
