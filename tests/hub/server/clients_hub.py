"""What people do with huggingface_hub, as they would write it: run against a Hub by `test_hub_clients.py`.

The environment says which Hub; users are alice, bob (who may read what is alice's) and carol.
"""

import hashlib
import io
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    DatasetCard,
    HfApi,
    HfFileSystem,
    ModelCard,
    ModelCardData,
    hf_hub_download,
    metadata_update,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

ENDPOINT = os.environ["HF_ENDPOINT"]
api, bob, carol = (HfApi(endpoint=ENDPOINT, token=token) for token in (None, "bob-token", "carol-token"))
anonymous = HfApi(endpoint=ENDPOINT, token=False)
BIG = bytes(range(256)) * 5000  # more than a megabyte


def refused(error: type[Exception], status: int, call: Any, *arguments: Any, **options: Any) -> str:
    try:
        call(*arguments, **options)
    except error as caught:
        response = getattr(caught, "response", None)
        if response is None or response.status_code == status:
            return str(caught)
        raise
    raise AssertionError(f"{call} was not refused")


def repos_of_three_types(scratch: Path) -> None:
    assert api.whoami()["name"] == "alice"
    for kind in ("model", "dataset", "space"):
        name = f"alice/kind-{kind}"
        sdk = {"space_sdk": "gradio"} if kind == "space" else {}
        url = api.create_repo(name, repo_type=kind, **sdk)
        assert (url.repo_id, url.repo_type) == (name, kind)
        assert api.create_repo(name, repo_type=kind, exist_ok=True, **sdk) == url
        refused(HfHubHTTPError, 409, api.create_repo, name, repo_type=kind, **sdk)
        api.upload_file(path_or_fileobj=b"small", path_in_repo="a.txt", repo_id=name, repo_type=kind)
        info = api.repo_info(name, repo_type=kind, files_metadata=True)
        assert [(file.rfilename, file.size) for file in info.siblings][1:] == [("a.txt", 5)]
        assert api.repo_exists(name, repo_type=kind)
        assert api.file_exists(name, "a.txt", repo_type=kind)
        assert not api.file_exists(name, "b.txt", repo_type=kind)
        assert api.revision_exists(name, "main", repo_type=kind)
        assert not api.revision_exists(name, "v9", repo_type=kind)
        listed = {"model": api.list_models, "dataset": api.list_datasets, "space": api.list_spaces}[kind]
        assert name in [found.id for found in listed(author="alice")]
    assert not api.repo_exists("alice/none")
    assert not api.repo_exists("gpt2")
    refused(HfHubHTTPError, 403, api.create_repo, "bob/x")
    refused(HfHubHTTPError, 401, anonymous.create_repo, "alice/x")


def files(scratch: Path) -> None:
    repo = api.create_repo("alice/files").repo_id
    (scratch / "up" / "sub").mkdir(parents=True)
    (scratch / "up" / "w.bin").write_bytes(BIG)
    (scratch / "up" / "sub" / "ü b.txt").write_text("text")
    (scratch / "up" / "empty").touch()
    (scratch / "up" / "skip.tmp").write_text("x")
    before = len(api.list_repo_commits(repo))
    pushed = api.upload_folder(
        repo_id=repo, folder_path=scratch / "up", ignore_patterns="*.tmp", commit_message="folder"
    )
    assert len(api.list_repo_commits(repo)) == before + 1
    assert api.list_repo_files(repo) == [".gitattributes", "empty", "sub/ü b.txt", "w.bin"]
    again = api.upload_folder(repo_id=repo, folder_path=scratch / "up", ignore_patterns="*.tmp")
    assert again.oid == pushed.oid  # nothing new: no commit
    file = io.BytesIO(BIG[::-1])
    api.upload_file(path_or_fileobj=file, path_in_repo="from memory.safetensors", repo_id=repo)
    api.upload_file(path_or_fileobj=BIG, path_in_repo="big.txt", repo_id=repo)
    (info,) = api.get_paths_info(repo, ["big.txt", "nowhere"], expand=True)
    assert (info.lfs.sha256, info.size) == (hashlib.sha256(BIG).hexdigest(), len(BIG))
    assert info.last_commit.title.startswith("Upload big.txt")
    path = hf_hub_download(repo, "from memory.safetensors")
    assert Path(path).read_bytes() == BIG[::-1]
    assert Path(hf_hub_download(repo, "sub/ü b.txt")).read_text() == "text"
    assert Path(hf_hub_download(repo, "empty")).read_bytes() == b""
    api.delete_file("sub/ü b.txt", repo)
    refused(EntryNotFoundError, 404, api.delete_file, "sub/ü b.txt", repo)
    refused(EntryNotFoundError, 404, hf_hub_download, repo, "sub/ü b.txt")
    assert Path(hf_hub_download(repo, "sub/ü b.txt", revision=pushed.oid)).read_text() == "text"
    api.create_commit(
        repo,
        [CommitOperationCopy("w.bin", "copy/w.bin"), CommitOperationDelete("empty"), CommitOperationAdd("n/m", b"1")],
        commit_message="in one",
    )
    assert "copy/w.bin" in api.list_repo_files(repo)
    api.delete_folder("copy", repo)
    api.upload_folder(repo_id=repo, folder_path=scratch / "up" / "sub", path_in_repo="n", delete_patterns="*")
    assert [name for name in api.list_repo_files(repo) if name.startswith(("n/", "copy"))] == ["n/ü b.txt"]
    folder = snapshot_download(repo, revision="main", allow_patterns=["*.txt", "w.bin"])
    assert Path(folder, "w.bin").read_bytes() == Path(folder, "big.txt").read_bytes() == BIG
    assert Path(folder).name == api.model_info(repo).sha
    many = [CommitOperationAdd(f"many/{n}.txt", f"{n}".encode()) for n in range(300)]
    api.create_commit(repo, many, commit_message="300 files")
    assert len(list(api.list_repo_tree(repo, "many"))) == 300
    assert api.model_info(repo, expand=["usedStorage"]).used_storage >= 2 * len(BIG)


def parents_branches_and_history(scratch: Path) -> None:
    repo = api.create_repo("alice/history").repo_id
    first = api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=repo)
    api.upload_file(path_or_fileobj=b"2", path_in_repo="a", repo_id=repo, parent_commit=first.oid)
    message = refused(
        HfHubHTTPError, 412, api.upload_file,
        path_or_fileobj=b"3", path_in_repo="a", repo_id=repo, parent_commit=first.oid,
    )  # fmt: skip
    assert "try again" in message
    api.create_branch(repo, branch="exp/seed-1", revision=first.oid)
    api.create_branch(repo, branch="exp/seed-1", exist_ok=True)
    refused(HfHubHTTPError, 409, api.create_branch, repo, branch="exp/seed-1")
    api.upload_file(path_or_fileobj=b"on a branch", path_in_repo="a", repo_id=repo, revision="exp/seed-1")
    assert Path(hf_hub_download(repo, "a", revision="exp/seed-1")).read_text() == "on a branch"
    assert Path(hf_hub_download(repo, "a")).read_text() == "2"
    api.create_tag(repo, tag="v1.0", revision=first.oid, tag_message="the first")
    api.create_tag(repo, tag="v1.0", exist_ok=True)
    assert Path(hf_hub_download(repo, "a", revision="v1.0")).read_text() == "1"
    refs = api.list_repo_refs(repo)
    assert sorted(branch.name for branch in refs.branches) == ["exp/seed-1", "main"]
    assert [(tag.name, tag.target_commit) for tag in refs.tags] == [("v1.0", first.oid)]
    assert [commit.title for commit in api.list_repo_commits(repo)][-1] == "initial commit"
    assert len(api.list_repo_commits(repo)) == 3
    assert {file.path for file in api.list_repo_tree(repo, revision="exp/seed-1", recursive=True)} == {
        ".gitattributes",
        "a",
    }
    api.super_squash_history(repo, commit_message="all in one")
    assert [commit.title for commit in api.list_repo_commits(repo)] == ["all in one"]
    assert Path(hf_hub_download(repo, "a", revision="main")).read_text() == "2"
    api.delete_tag(repo, tag="v1.0")
    refused(RevisionNotFoundError, 404, api.delete_tag, repo, tag="v1.0")
    api.delete_branch(repo, branch="exp/seed-1")
    refused(RevisionNotFoundError, 404, hf_hub_download, repo, "a", revision="exp/seed-1")
    refused(
        RevisionNotFoundError, 404, api.upload_file, path_or_fileobj=b"", path_in_repo="x", repo_id=repo, revision="no"
    )
    refused(HfHubHTTPError, 403, api.delete_branch, repo, branch="main")
    pull = api.upload_file(path_or_fileobj=b"pr", path_in_repo="p", repo_id=repo, create_pr=True)
    assert (pull.pr_num, pull.pr_revision) == (1, "refs/pr/1")
    assert not api.file_exists(repo, "p")
    assert Path(hf_hub_download(repo, "p", revision="refs/pr/1")).read_text() == "pr"
    assert [ref.ref for ref in api.list_repo_refs(repo, include_pull_requests=True).pull_requests] == ["refs/pr/1"]


def moves_settings_and_deletes(scratch: Path) -> None:
    repo = api.create_repo("alice/before").repo_id
    api.upload_file(path_or_fileobj=BIG, path_in_repo="w.bin", repo_id=repo)
    api.move_repo(from_id=repo, to_id="alice/after")
    assert not api.repo_exists(repo)
    assert Path(hf_hub_download("alice/after", "w.bin")).read_bytes() == BIG
    refused(HfHubHTTPError, 403, api.move_repo, from_id="alice/after", to_id="bob/after")
    api.update_repo_settings("alice/after", private=True)
    refused(RepositoryNotFoundError, 404, carol.model_info, "alice/after")
    api.update_repo_settings("alice/after", private=False)
    assert carol.model_info("alice/after").private is False
    refused(HfHubHTTPError, 403, carol.delete_repo, "alice/after")
    api.delete_repo("alice/after")
    api.delete_repo("alice/after", missing_ok=True)
    refused(RepositoryNotFoundError, 404, api.delete_repo, "alice/after")


def private_repos(scratch: Path) -> None:
    """With a fresh cache for everyone, so that nobody finds what another one downloaded."""
    repo = api.create_repo("alice/private", private=True).repo_id
    api.upload_file(path_or_fileobj=b"secret", path_in_repo="a", repo_id=repo)
    for name, who, status in (("anonymous", anonymous, 401), ("carol", carol, 404)):
        refused(RepositoryNotFoundError, status, who.hf_hub_download, repo, "a", cache_dir=scratch / name)
        refused(RepositoryNotFoundError, status, who.model_info, repo)
        refused(RepositoryNotFoundError, status, who.snapshot_download, repo, cache_dir=scratch / name)
        assert repo not in [found.id for found in who.list_models()]
    assert Path(bob.hf_hub_download(repo, "a", cache_dir=scratch / "bob")).read_text() == "secret"
    refused(HfHubHTTPError, 403, bob.upload_file, path_or_fileobj=b"x", path_in_repo="a", repo_id=repo)
    wrong = HfApi(endpoint=ENDPOINT, token="wrong")
    assert "Invalid credentials" in refused(HfHubHTTPError, 401, wrong.model_info, repo)
    refused(HfHubHTTPError, 401, wrong.whoami)


def etags_and_parts(scratch: Path) -> None:
    repo = api.create_repo("alice/etags").repo_id
    commit = api.upload_file(path_or_fileobj=BIG, path_in_repo="w.bin", repo_id=repo).oid
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    about = get_hf_file_metadata(hf_hub_url(repo, "w.bin"))
    assert (about.commit_hash, about.size) == (commit, len(BIG))
    assert about.etag == hashlib.sha256(BIG).hexdigest()
    small = get_hf_file_metadata(hf_hub_url(repo, ".gitattributes"))
    (entry,) = api.get_paths_info(repo, ".gitattributes")
    assert small.etag == entry.blob_id
    cached = Path(hf_hub_download(repo, "w.bin"))
    assert cached.resolve().name == about.etag
    before = cached.resolve().stat().st_mtime_ns
    assert hf_hub_download(repo, "w.bin") == str(cached)
    assert cached.resolve().stat().st_mtime_ns == before
    blob = cached.resolve()
    blob.rename(blob.with_name(f"{blob.name}.incomplete"))  # cut off half-way: the rest is asked for
    os.truncate(f"{blob}.incomplete", 1000)
    cached.unlink()
    assert Path(hf_hub_download(repo, "w.bin")).read_bytes() == BIG


def cards(scratch: Path) -> None:
    repo = api.create_repo("alice/card").repo_id
    card = ModelCard.from_template(
        ModelCardData(license="mit", library_name="transformers", tags=["listops"]), model_id=repo
    )
    card.validate()
    card.push_to_hub(repo)
    metadata_update(repo, {"tags": ["listops", "more"], "date": "2026-11-22"}, overwrite=True)
    info = api.model_info(repo)
    assert info.card_data.license == "mit"
    assert {"listops", "more", "license:mit", "transformers"} <= set(info.tags)
    assert ModelCard.load(repo).data.tags == ["listops", "more"]
    assert repo in [found.id for found in api.list_models(filter="more")]
    assert repo not in [found.id for found in api.list_models(filter="none")]
    message = refused(ValueError, 400, DatasetCard("---\ntags: a\n---\n").validate)
    assert "must be a list" in message


def collections(scratch: Path) -> None:
    made = api.create_collection("Runs of a sweep", namespace="alice", description="all", private=True)
    assert api.create_collection("Runs of a sweep", namespace="alice", exists_ok=True).slug == made.slug
    api.add_collection_item(made.slug, "alice/files", "model", note="the first")
    api.add_collection_item(made.slug, "alice/kind-dataset", "dataset")
    api.add_collection_item(made.slug, "alice/files", "model", exists_ok=True)
    items = api.get_collection(made.slug).items
    assert [(item.item_id, item.item_type, item.note) for item in items] == [
        ("alice/files", "model", "the first"), ("alice/kind-dataset", "dataset", None),
    ]  # fmt: skip
    api.update_collection_item(made.slug, items[1].item_object_id, position=0, note="now the first")
    assert api.get_collection(made.slug).items[0].note == "now the first"
    refused(HfHubHTTPError, 404, carol.get_collection, made.slug)
    assert api.update_collection_metadata(made.slug, title="New", private=False).title == "New"
    assert carol.get_collection(made.slug).title == "New"
    assert [found.slug for found in carol.list_collections(owner="alice")] == [made.slug]
    api.delete_collection_item(made.slug, items[0].item_object_id)
    assert len(api.get_collection(made.slug).items) == 1
    api.delete_collection(made.slug)
    api.delete_collection(made.slug, missing_ok=True)


def file_system(scratch: Path) -> None:
    fs = HfFileSystem(endpoint=ENDPOINT)
    api.create_repo("alice/fs", repo_type="dataset")
    with fs.open("datasets/alice/fs/d/a.txt", "w") as file:
        file.write("written")
    fs.pipe("datasets/alice/fs/d/b.bin", BIG)
    assert fs.read_text("datasets/alice/fs/d/a.txt") == "written"
    with fs.open("datasets/alice/fs/d/b.bin", "rb") as file:
        file.seek(1_000_000)
        assert file.read(10) == BIG[1_000_000:1_000_010]
    assert fs.glob("datasets/alice/fs/**/*.txt") == ["datasets/alice/fs/d/a.txt"]
    assert sorted(fs.ls("datasets/alice/fs/d", detail=False)) == [
        f"datasets/alice/fs/d/{n}" for n in ("a.txt", "b.bin")
    ]
    assert fs.info("datasets/alice/fs/d/b.bin")["size"] == len(BIG)
    fs.cp("datasets/alice/fs/d/b.bin", "datasets/alice/fs/e/b.bin")
    fs.mv("datasets/alice/fs/d/a.txt", "datasets/alice/fs/e/a.txt")
    fs.rm("datasets/alice/fs/d", recursive=True)
    fs.invalidate_cache()
    assert sorted(fs.find("datasets/alice/fs")) == [
        f"datasets/alice/fs/{n}" for n in (".gitattributes", "e/a.txt", "e/b.bin")
    ]
    assert not fs.exists("datasets/alice/fs/d")
    try:
        fs.read_text("datasets/alice/nosuch/a")
    except FileNotFoundError:
        return
    raise AssertionError


def eight_at_once(scratch: Path) -> None:
    """Some with a parent, which may be refused; those that are not refused are all there, one after the other."""
    repo = api.create_repo("alice/crowd").repo_id

    def push(who: int) -> tuple[list[str], int]:
        own, oids, refusals = HfApi(endpoint=ENDPOINT), [], 0
        for number in range(4):
            parent = own.model_info(repo).sha if who % 2 else None
            files = [CommitOperationAdd(f"{who}/{number}.txt", f"{who} {number}".encode())]
            files += [CommitOperationAdd(f"{who}/w.bin", bytes([number]) * 2000)]  # the same for all, at the same time
            try:
                oids.append(own.create_commit(repo, files, commit_message=f"{who} {number}", parent_commit=parent).oid)
            except HfHubHTTPError as error:
                if parent is None or error.response.status_code != 412:
                    raise
                refusals += 1
        return oids, refusals

    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(push, range(8)))
    history = [commit.commit_id for commit in api.list_repo_commits(repo)][::-1]
    assert sorted(oid for oids, _ in ended for oid in oids) == sorted(history[1:])
    for who, (oids, refusals) in enumerate(ended):
        assert len(oids) + refusals == 4
        assert refusals == 0 or who % 2
        assert oids == [oid for oid in history if oid in oids]  # each one's own in order
    assert len([name for name in api.list_repo_files(repo) if name.endswith(".txt")]) == len(history) - 1


def command_line(scratch: Path) -> None:
    def hf(*arguments: str) -> str:
        done = subprocess.run([Path(sys.executable).with_name("hf"), *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "alice" in hf("auth", "whoami")
    hf("repos", "create", "alice/cli", "--type", "dataset")
    hf("upload", "alice/cli", str(scratch / "up"), "data", "--repo-type", "dataset")
    hf("download", "alice/cli", "--repo-type", "dataset", "--local-dir", str(scratch / "down"))
    assert (scratch / "down" / "data" / "w.bin").read_bytes() == BIG
    hf("repos", "delete", "alice/cli", "--type", "dataset", "--yes")
    assert not api.repo_exists("alice/cli", repo_type="dataset")


FLOWS = [
    repos_of_three_types, files, parents_branches_and_history, moves_settings_and_deletes, private_repos, etags_and_parts,
    cards, collections, file_system, eight_at_once, command_line,
]  # fmt: skip

if __name__ == "__main__":
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "Use 'content=", DeprecationWarning)  # huggingface_hub's own way to upload
    for flow in FLOWS:
        flow(Path(sys.argv[1]))
        print(flow.__name__)  # noqa: T201
