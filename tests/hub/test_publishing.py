"""Publishing runs to a real embedded Hub, from client processes of their own, with every kind of interruption."""

import contextlib
import json
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_client import (
    REPO,
    STEPS,
    Client,
    ClientError,
    Fault,
    Weather,
    client_of,
    command,
    delete_repo,
    edit_manifest,
    environment,
    flip_a_bit,
    history,
    hub_with_weather,
    part,
    push,
    run,
    sentence,
    titles,
    train_until,
)

from hf_listops.hub.server.serving import Running

History = dict[str, list[tuple[str, str]]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Weather]]:
    with hub_with_weather(tmp_path_factory.mktemp("hub") / "root") as both:
        yield both


@pytest.fixture(scope="module")
def hub(served: tuple[Running, Weather]) -> Running:
    return served[0]


@pytest.fixture
def weather(served: tuple[Running, Weather]) -> Iterator[Weather]:
    served[1].requests.clear()
    yield served[1]
    served[1].faults.clear()


@pytest.fixture(scope="module")
def client(hub: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with client_of(hub, tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def there(client: Client, hub: Running) -> History:
    """No repo at first; read with `history` afterwards."""
    client(delete_repo, REPO)
    return {}


@pytest.fixture(scope="module")
def whole(client: Client, hub: Running, tiny_run: Path) -> History:
    """What publishing without any trouble leaves."""
    client(delete_repo, REPO)
    assert client(push, tiny_run) == [REPO, 6, 6]
    return history(hub.root, REPO)


@pytest.fixture(scope="module")
def short(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as it was when the run had come to step 1."""
    return part(tiny_run, tmp_path_factory.mktemp("short") / "run", [0, 1])


def snapshot(repo: str, revision: str) -> Any:
    """In a client: the hash of every file of a revision, downloaded."""
    from hashlib import sha256
    from pathlib import Path

    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(repo, revision=revision))
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {p.relative_to(folder).as_posix(): sha256(p.read_bytes()).hexdigest() for p in files}


def test_every_kept_step_is_a_branch_of_one_commit_more(whole: History, client: Client, tiny_run: Path) -> None:
    expected = ["initial commit"]
    assert set(whole) == {"main", *(f"step-{step}" for step in STEPS)}
    for step in STEPS:
        expected = [*expected, f"step-{step}"]
        assert titles(whole)[f"step-{step}"] == expected
        assert whole[f"step-{step}"][:-1] == (whole[before] if (before := _before(step)) else whole["main"][:1])
    assert titles(whole)["main"] == ["initial commit", "Final state, step 120"]

    def listed(repo: str) -> Any:
        from huggingface_hub import list_repo_commits

        return [commit.title for commit in list_repo_commits(repo, revision="step-4")]

    assert client(listed, REPO) == ["step-4", "step-2", "step-1", "step-0", "initial commit"]
    for revision, folder in {"main": tiny_run, "step-2": tiny_run / "steps" / "step-2"}.items():
        local = json.loads((folder / "manifest.json").read_text())
        files = client(snapshot, REPO, revision)
        assert set(files) == {*local["files"], "manifest.json", ".gitattributes"}  # and nothing of the state at main
        assert {path: files[path] for path in local["files"]} == local["files"]


def _before(step: int) -> str | None:
    place = STEPS.index(step)
    return f"step-{STEPS[place - 1]}" if place else None


@pytest.mark.parametrize("revision", ["main", "step-2"])
def test_the_three_lines_of_the_card(whole: History, client: Client, tiny_run: Path, revision: str) -> None:
    def load(repo: str, revision: str, folder: str) -> Any:
        import re
        from pathlib import Path

        import torch
        from huggingface_hub import hf_hub_download
        from safetensors.torch import load_file

        text = Path(hf_hub_download(repo, "README.md", revision=revision)).read_text()
        (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        variables: dict[str, Any] = {}
        exec(code, variables)
        local = load_file(Path(folder) / "model.safetensors")
        weights = variables["model"].state_dict()
        same = [torch.equal(weights[name], tensor) for name, tensor in local.items()]
        return len(code.splitlines()), len(same), all(same), variables["tokenizer"].tokenize("[SUM 3 9 ] =")

    folder = tiny_run if revision == "main" else tiny_run / "steps" / revision
    lines, tensors, same, tokens = client(load, REPO, revision, folder)
    assert (lines, same) == (3, True)
    assert tensors > 20
    assert tokens == ["[SUM", "3", "9", "]", "="]


def test_publishing_twice_adds_nothing(whole: History, client: Client, hub: Running, tiny_run: Path) -> None:
    assert client(push, tiny_run) == [REPO, 6, 0]
    assert history(hub.root, REPO) == whole


def test_the_namespace_is_that_of_the_token_or_the_one_asked_for(client: Client, hub: Running, short: Path) -> None:
    with pytest.raises(ClientError, match=r"ListOpsError: model: 'alice/listops-.*HTTP 403"):
        client(push, short, "alice")
    with pytest.raises(ClientError, match="ListOpsError: hub_namespace: 'a/b' is no owner"):
        client(push, short, "a/b")


@pytest.mark.parametrize(
    ("cut", "nth"),
    [
        ("POST /api/repos/create", 1),
        ("GET .*/refs", 1),  # the repo is made
        ("POST .*/branch/step-0", 1),
        ("GET .*/tree/", 1),  # the first branch is made
        ("PUT ", 2),  # one of two large files is there
        ("POST .*/commit/step-0", 1),  # both are
        ("POST .*/branch/step-1", 1),  # the first commit is made
        ("GET .*/tree/", 2),
        ("POST .*/commit/step-1", 1),
    ],
)
def test_a_push_that_is_cut_off_can_be_repeated(
    whole: History, client: Client, hub: Running, short: Path, there: History, cut: str, nth: int
) -> None:
    with pytest.raises(ClientError, match="Cut: "):
        client(push, short, None, cut, nth)
    assert client(push, short)[:2] == [REPO, 2]
    expected = {"main": whole["main"][:1], "step-0": whole["step-0"], "step-1": whole["step-1"]}
    assert history(hub.root, REPO) == expected


def test_a_run_that_grows(
    whole: History, client: Client, hub: Running, tiny_run: Path, there: History, tmp_path: Path
) -> None:
    assert client(push, part(tiny_run, tmp_path / "run", [0, 1, 2, 4])) == [REPO, 4, 4]
    with pytest.raises(ClientError, match="Cut: "):
        client(push, tiny_run, None, "POST .*/commit/main")
    assert client(push, tiny_run) == [REPO, 6, 1]
    assert history(hub.root, REPO) == whole


def test_two_publishers_at_once(
    whole: History, client: Client, hub: Running, tiny_run: Path, there: History, tmp_path: Path
) -> None:
    with client_of(hub, tmp_path / "home") as other:
        added: list[Any] = []
        thread = threading.Thread(target=lambda: added.append(other(push, tiny_run)))
        thread.start()
        added.append(client(push, tiny_run))
        thread.join()
    assert [of[:2] for of in added] == [[REPO, 6]] * 2
    assert history(hub.root, REPO) == whole


def test_what_is_there_is_not_overwritten(
    client: Client, hub: Running, short: Path, there: History, tmp_path: Path
) -> None:
    client(push, short)
    before = history(hub.root, REPO)
    for name in ("another", "retrained", "torn"):
        shutil.copytree(short, tmp_path / name)
    for step in (0, 1):
        edit_manifest(tmp_path / "another" / "steps" / f"step-{step}", hash="0123456789ab")
    with pytest.raises(ClientError, match=r"ListOpsError: repo: .* holds another run \(config .*0123456789ab\)"):
        client(push, tmp_path / "another")
    flip_a_bit(tmp_path / "retrained" / "steps" / "step-1" / "model.safetensors")
    edit_manifest(tmp_path / "retrained" / "steps" / "step-1")
    with pytest.raises(ClientError, match=r"ListOpsError: repo: .* holds other weights at 'step-1'"):
        client(push, tmp_path / "retrained")
    flip_a_bit(tmp_path / "torn" / "steps" / "step-1" / "model.safetensors")
    with pytest.raises(ClientError, match=r"ListOpsError: checkpoint: .* differs from manifest.json"):
        client(push, tmp_path / "torn")
    with pytest.raises(ClientError, match=r"ListOpsError: run: .* holds no checkpoint"):
        client(push, tmp_path)
    assert history(hub.root, REPO) == before


def test_a_repo_with_commits_of_others(client: Client, hub: Running, short: Path, there: History) -> None:
    def begin(repo: str) -> None:
        from huggingface_hub import HfApi

        api = HfApi()
        api.create_repo(repo)
        api.create_branch(repo, branch="step-0")
        api.upload_file(path_or_fileobj=b"mine", path_in_repo="notes.txt", repo_id=repo, revision="step-0")

    client(begin, REPO)
    before = history(hub.root, REPO)
    with pytest.raises(ClientError, match=r"ListOpsError: repo: 'step-0' of .* is not where publishing left it"):
        client(push, short)
    assert history(hub.root, REPO) == before


def test_files_of_the_revision_before_do_not_remain(
    client: Client, short: Path, there: History, tmp_path: Path
) -> None:
    shutil.copytree(short, tmp_path / "run")
    first = tmp_path / "run" / "steps" / "step-0"
    (first / "shard").mkdir()
    (first / "shard" / "model-00002.safetensors").write_bytes(b"old")
    edit_manifest(first)
    client(push, tmp_path / "run")
    assert "shard/model-00002.safetensors" in client(snapshot, REPO, "step-0")
    assert "shard/model-00002.safetensors" not in client(snapshot, REPO, "step-1")


AT_ONCE = {"Retry-After": "0"}


def test_trouble_is_waited_for_and_nothing_is_done_twice(
    whole: History, client: Client, hub: Running, short: Path, there: History, weather: Weather
) -> None:
    """412, 429 and 5xx, with the request refused or carried out and only its answer lost, at every kind of request."""
    weather.faults += [
        Fault("POST /api/repos/create", 503, 2, headers=AT_ONCE),
        Fault("POST /api/repos/create", 502, after=True, headers=AT_ONCE),
        Fault("GET .*/refs", 500, headers=AT_ONCE),
        Fault("POST .*/branch/step-0", 429, headers=AT_ONCE),
        Fault("POST .*/branch/step-0", 504, after=True, headers=AT_ONCE),
        Fault("PUT ", 412, headers=AT_ONCE),
        Fault("POST .*/commit/step-0", 412, headers=AT_ONCE),
        Fault("POST .*/commit/step-0", 503, after=True, headers=AT_ONCE),
        Fault("POST .*/commit/step-1", 429, 5, headers=AT_ONCE),
    ]
    client(push, short)
    assert [fault for fault in weather.faults if fault.times] == []
    expected = {"main": whole["main"][:1], "step-0": whole["step-0"], "step-1": whole["step-1"]}
    assert history(hub.root, REPO) == expected


@pytest.mark.parametrize(("status", "asked"), [(503, 6), (412, 6), (507, 1), (403, 1)])
def test_trouble_that_does_not_end(
    client: Client, short: Path, there: History, weather: Weather, status: int, asked: int
) -> None:
    weather.faults.append(Fault("POST .*/commit/step-0", status, 99, headers=AT_ONCE))
    with pytest.raises(ClientError, match=rf"ListOpsError: model: '{REPO}' at http://127.* \(HTTP {status}\)"):
        client(push, short)
    assert sum("/commit/step-0" in request for request in weather.requests) == asked
    weather.faults[:] = [Fault("PUT ", 403, 99)]  # the client hides this one in a RuntimeError
    with pytest.raises(ClientError, match=r"ListOpsError: model: .* \(HTTP 403\)"):
        client(push, short)


def test_waiting_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the Hub says, but no longer than half a minute; else twice as long each time."""
    import httpx2

    from hf_listops.hub import api

    waits: list[float] = []
    monkeypatch.setattr(api.time, "sleep", waits.append)
    monkeypatch.setattr(api.random, "uniform", lambda low, high: 1.0)
    calls: list[int] = []

    def call() -> str:
        calls.append(1)
        if len(calls) < 6:
            raise httpx2.ConnectError("refused")
        return "done"

    assert api.persistently(call) == "done"
    assert waits == [0.5, 1, 2, 4, 8]

    def hopeless() -> None:
        raise httpx2.ReadTimeout("slow")

    with pytest.raises(httpx2.ReadTimeout):
        api.persistently(hopeless)
    assert len(waits) == 10

    def wrong() -> None:
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        api.persistently(wrong)
    assert len(waits) == 10
    from huggingface_hub.errors import HfHubHTTPError

    for asked, waited in (("7", 7), ("4000", 30), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.5)):
        answers = [httpx2.Response(429, headers={"Retry-After": asked}, request=httpx2.Request("GET", "http://h/"))]

        def limited(answers: list[Any] = answers) -> None:
            if answers:
                raise HfHubHTTPError("slow down", response=answers.pop())

        api.persistently(limited)
        assert waits[-1] == waited


# train.py --push_to_hub


def flags(dataset: Path, out: Path) -> list[str]:
    return [
        "train.py", "--task", "sum-mod10-depth2", "--dataset", str(dataset), "--n_embd", "8", "--max_steps", "120",
        "--learning_rate", "1e-2", "--warmup_steps", "10", "--batch_size", "32", "--eval_steps", "60", "--eval_rows", "120",
        "--save_state", "true", "--output_dir", str(out), "--save_steps", *map(str, STEPS),
    ]  # fmt: skip


def weights(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("model.safetensors")}


def test_training_publishes_as_it_goes(
    whole: History, hub: Running, tiny_run: Path, dataset: Path, there: History, tmp_path: Path
) -> None:
    words: list[str | Path] = [sys.executable, *flags(dataset, tmp_path / "run"), "--push_to_hub"]
    result = run(words, environment(hub, tmp_path / "home"))
    assert result.returncode == 0, result.stderr
    assert weights(tmp_path / "run") == weights(tiny_run)
    assert titles(history(hub.root, REPO)) == titles(whole)
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_a_hub_that_dies_does_not_stop_the_training(
    whole: History, tiny_run: Path, dataset: Path, tmp_path: Path
) -> None:
    root, out = tmp_path / "root", tmp_path / "run"

    def train_and_stop(*arguments: str) -> Any:
        """Trains; a dead Hub is not waited for as long as usual."""
        import contextlib
        import io
        import runpy
        import sys

        from hf_listops.hub import api

        api.persistently.__defaults__ = (0.01,)
        error, code = io.StringIO(), 0
        with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
            try:
                sys.argv = list(arguments)
                runpy.run_path("train.py", run_name="__main__")
            except SystemExit as end:
                code = end.code or 0
        return code, error.getvalue()

    with contextlib.ExitStack() as first:
        hub, weather = first.enter_context(hub_with_weather(root))
        with client_of(hub, tmp_path / "home") as client:
            weather.dies_at = "/branch/step-2"
            code, error = client(train_and_stop, *flags(dataset, out), "--push_to_hub")
            first.close()
            partly = titles(history(root, REPO))
            assert code == 2, error
            assert "Traceback" not in error
            (said,) = [line for line in error.splitlines() if line.startswith("error: ")]
            assert re.search(rf"push_to_hub: the run is finished in .* hf-listops hub publish {out}$", said)
            assert weights(out) == weights(tiny_run)
            assert set(partly) == {"main", "step-0", "step-1"}, weather.requests
            publish = re.findall(r"hf-listops (hub publish .*)$", said)[0].split()
            new = [*flags(dataset, tmp_path / "new"), "--push_to_hub"]
            for words in (publish, new):
                assert f"endpoint: {hub.endpoint} cannot be reached" in sentence(client, *words)
            assert not (tmp_path / "new").exists()
            with hub_with_weather(root, port=int(hub.endpoint.rpartition(":")[2])):
                code, output, error = client(command, *publish)
            assert (code, output) == (0, f"{hub.endpoint}/{REPO}: 4 of 6 revisions added\n"), error
    assert titles(history(root, REPO)) == titles(whole)


def test_a_signal_and_resume(
    whole: History, client: Client, hub: Running, tiny_run: Path, dataset: Path, there: History, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert client(train_until, 30, *flags(dataset, out), "--push_to_hub") == 0
    assert not (out / "manifest.json").exists()
    assert set(history(hub.root, REPO)) < set(whole)
    code, _, error = client(command, *flags(dataset, out), "--push_to_hub", "--resume")
    assert code == 0, error
    assert weights(out) == weights(tiny_run)
    assert titles(history(hub.root, REPO)) == titles(whole)


def test_a_wrong_token_is_refused_before_the_first_step(
    client: Client, hub: Running, dataset: Path, short: Path, tmp_path: Path
) -> None:
    wrong = rf"error: token: HF_TOKEN is not accepted at {hub.endpoint}"
    for arguments in ([*flags(dataset, tmp_path / "run"), "--push_to_hub"], ["hub", "publish", str(short)]):
        assert re.match(wrong, sentence(client, "HF_TOKEN=hf_wrong", *arguments))
    assert not (tmp_path / "run").exists()
