"""Names of models and datasets, and one sentence for whatever goes wrong between us and a Hub."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_client import REPO, Client, client_of, command, push, sentence

from hf_listops.data.remote import commit_of, local_folder, split_revision
from hf_listops.hub.server.serving import Running, running

EXPRESSION = "[SUM 3 9 ]"
DATA = "hf-listops/listops"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("hub") / "root", ["hf-listops:hf_ours", "bob:hf_bob"]) as hub:
        yield hub


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def client(hub: Running, home: Path, tiny_run: Path, dataset: Path) -> Iterator[Client]:
    with client_of(hub, home) as made:
        made(push, tiny_run)
        code, _, error = made(command, "data", "push", "sum-mod10-depth2", "--out", str(dataset))
        assert code == 0, error
        shutil.rmtree(home / "hub")  # publishing has looked at every revision
        yield made


def test_names(tmp_path: Path) -> None:
    assert split_revision("me/model") == ("me/model", None)
    assert split_revision("me/model@") == ("me/model", None)
    assert split_revision("me/model@exp/one@two") == ("me/model", "exp/one@two")
    folder = tmp_path / "run@step-1"
    folder.mkdir()
    assert split_revision(str(folder)) == (str(folder), None)
    assert local_folder(str(folder)) == folder
    assert commit_of(folder) is None
    assert commit_of(tmp_path / "snapshots" / "abc") == "abc"


def test_solving_by_name_and_revision(client: Client, tiny_run: Path) -> None:
    for name, folder in ((REPO, tiny_run), (f"{REPO}@step-2", tiny_run / "steps" / "step-2")):
        code, out, error = client(command, "solve", name, EXPRESSION)
        assert code == 0, error
        assert client(command, "solve", str(folder), EXPRESSION)[1] == out
        assert out.startswith(f"{EXPRESSION}\n  = ")


def test_wrong_names_and_revisions(client: Client, hub: Running) -> None:
    example = "'hf-listops/listops-sum-mod10-depth2-d32-l2-h1-s0@step-2000'"
    known = "main, step-0, step-1, step-2, step-4, step-60"
    for name, says in (
        (f"{REPO}@step-3", f"error: revision: '{REPO}' at {hub.endpoint} has no 'step-3'; it has {known}"),
        (f"{REPO}@{'0' * 40}", f"error: revision: '{REPO}' at {hub.endpoint} has no '{'0' * 40}'; it has {known}"),
        ("hf-listops/none", f"error: model: there is no 'hf-listops/none' at {hub.endpoint}, or the token"),
        ("gpt2", f"error: model: there is no 'gpt2' at {hub.endpoint}, or the token"),
        ("outputs/no/such/run", f"'outputs/no/such/run' is neither a folder nor a name on the Hub; a right one is {example}"),
        ("", f"'' is neither a folder nor a name on the Hub; a right one is {example}"),
        ("@step-1", "is neither a folder nor a name on the Hub"),
        ("me/what?", "is neither a folder nor a name on the Hub"),
    ):  # fmt: skip
        assert says in sentence(client, "solve", name, EXPRESSION)
    for name, says in (
        (f"{DATA}@v9", f"revision: '{DATA}' at {hub.endpoint} has no 'v9'; it has main"),
        ("hf-listops/none", "dataset: there is no 'hf-listops/none'"),
    ):
        assert says in sentence(client, "data", "check", name)


def test_private_repos_and_tokens(client: Client, hub: Running) -> None:
    def hide(repo: str, private: bool) -> None:
        from huggingface_hub import HfApi

        HfApi().update_repo_settings(repo, private=private)

    client(hide, REPO, True)
    try:
        assert client(command, "solve", REPO, EXPRESSION)[0] == 0
        for command_words in (["solve", f"{REPO}@step-4", EXPRESSION], ["hub", "verify", REPO]):
            unseen = sentence(client, "HF_TOKEN=hf_bob", *command_words)
            assert f"there is no '{REPO}' at {hub.endpoint}, or the token (HF_TOKEN) may not see it" in unseen
    finally:
        client(hide, REPO, False)
    for command_words in (["solve", f"{REPO}@step-4", EXPRESSION], ["hub", "verify", REPO]):
        wrong = sentence(client, "HF_TOKEN=hf_wrong", *command_words)
        assert re.match(f"error: token: HF_TOKEN is not accepted at {hub.endpoint}.*log in with: hf auth login", wrong)


def test_offline_and_unreachable(client: Client, hub: Running, home: Path, tiny_run: Path, tmp_path: Path) -> None:
    """What was loaded once is there; what was not is named, with what is."""

    def load(name: str) -> int:
        from hf_listops.data.load import load_split
        from hf_listops.language import Task

        return len(load_split(name, Task.from_name("sum-mod10-depth2"), "validation"))

    shutil.rmtree(home / "hub")
    for name in (f"{REPO}@step-2", f"{REPO}@step-60"):
        assert client(command, "solve", name, EXPRESSION)[0] == 0
    assert client(load, DATA) == 120
    with client_of(hub, home, HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9") as offline:
        code, out, error = offline(command, "solve", f"{REPO}@step-2", EXPRESSION)
        assert code == 0, error
        assert offline(command, "solve", str(tiny_run / "steps" / "step-2"), EXPRESSION)[1] == out
        assert offline(load, DATA) == 120
        holds = "and HF_HUB_OFFLINE is set; load it once while online"
        for words, says in (
            (["solve", f"{REPO}@step-4", EXPRESSION], f"model: '{REPO}' at revision 'step-4' is no folder and not in"),
            (["solve", f"{REPO}@step-4", EXPRESSION], f"(it holds step-2, step-60), {holds}"),
            (["solve", REPO, EXPRESSION], f"model: '{REPO}' is no folder and not in the cache"),
            (["solve", "me/none", EXPRESSION], f"(it holds nothing of it), {holds}"),
            (["data", "check", f"{DATA}@v9"], f"dataset: '{DATA}' at revision 'v9' is no folder and not in the cache"),
            (["hub", "publish", str(tiny_run)], "endpoint: HF_HUB_OFFLINE is set, and this needs a Hub; unset it"),
            (["hub", "mirror", "http://a", "http://b", REPO], "endpoint: HF_HUB_OFFLINE is set"),
            (["hub", "verify", REPO], "HF_HUB_OFFLINE is set"),
        ):
            assert says in sentence(offline, *words)
        # A download that was cut off is no checkpoint.
        (weights,) = [path for path in (home / "hub").rglob("model.safetensors") if is_step(path, 60, tiny_run)]
        weights.unlink()
        assert "or not all of it (it holds step-2, step-60)" in sentence(
            offline, "solve", f"{REPO}@step-60", EXPRESSION
        )

    def online_elsewhere(endpoint: str) -> Any:
        """The same process cannot change its endpoint, but can name another."""
        from hf_listops.data.remote import explained

        with explained("me/model", endpoint=endpoint):
            from huggingface_hub import HfApi

            HfApi(endpoint=endpoint).whoami()

    for endpoint in ("http://127.0.0.1:9", "no-address", "http://host.invalid"):
        with pytest.raises(Exception, match=f"ListOpsError: endpoint: {endpoint} cannot be reached .*HF_ENDPOINT"):
            client(online_elsewhere, endpoint)


def is_step(path: Path, step: int, run: Path) -> bool:
    return path.read_bytes() == (run / "steps" / f"step-{step}" / "model.safetensors").read_bytes()
