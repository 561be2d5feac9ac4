"""Runs by folder, by name on an embedded Hub, and by name without one: the same run; and what is no run."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_client import REPO, STEPS, Client, ClientError, Fault, Weather, client_of, hub_with_weather, push, sentence

from hf_listops.analysis import dynamics, transfer
from hf_listops.analysis.history import load_histories
from hf_listops.errors import ListOpsError
from hf_listops.hub.server.serving import Running

ALL = {str(step): f"{REPO}@step-{step}" for step in STEPS} | {"120": REPO}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Weather]]:
    with hub_with_weather(tmp_path_factory.mktemp("hub") / "root") as (hub, weather):
        yield hub, weather


@pytest.fixture(scope="module")
def client(server: tuple[Running, Weather], home: Path, tiny_run: Path) -> Iterator[Client]:
    with client_of(server[0], home) as made:
        made(push, tiny_run)
        shutil.rmtree(home / "hub")  # publishing has looked at every revision
        yield made


def load(name: str, with_steps: bool = False) -> Any:
    """In a client: what a history holds; with its steps, as an analysis of them loads these too."""
    import dataclasses

    from hf_listops.analysis.history import load_histories
    from hf_listops.data.remote import local_folder

    (history,) = load_histories([name])
    for of in history.revisions.values() if with_steps else ():
        local_folder(of)
    return dataclasses.asdict(history)


def test_a_folder(tiny_run: Path) -> None:
    (history,) = load_histories([str(tiny_run)])
    assert list(history.revisions) == [*STEPS, 120]
    assert (history.stopped, history.subject, history.operations) == ("budget", "sum-mod10-depth2", ("SUM",))


def test_by_name_with_and_without_the_hub(
    client: Client, server: tuple[Running, Weather], home: Path, tiny_run: Path
) -> None:
    (folder,) = load_histories([str(tiny_run)])
    online = client(load, REPO, True)
    assert online["revisions"] == ALL
    assert (online["config"], online["metrics"]) == (folder.config, folder.metrics)
    offline = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    with client_of(server[0], home, **offline) as alone:
        asked = len(server[1].requests)
        assert alone(load, REPO, True) == online
        refs = home / "hub" / f"models--{REPO.replace('/', '--')}" / "refs"
        for step in (0, 1, 4):
            (refs / f"step-{step}").unlink()
        (refs / "v1").write_text((refs / "main").read_text())  # a tag is no step
        assert alone(load, REPO)["revisions"] == {step: ALL[step] for step in ("2", "60", "120")}
        for step in (2, 60):
            (refs / f"step-{step}").unlink()
        said = sentence(alone, "analyze", "dynamics", REPO, "--out", home / "out")
        assert f"the cache holds no step of '{REPO}' but the last, and HF_HUB_OFFLINE is set" in said
        assert len(server[1].requests) == asked
    assert client(load, REPO) == online


def test_a_busy_hub_is_asked_again(client: Client, server: tuple[Running, Weather]) -> None:
    fault = Fault(r"GET .*/refs", 503, headers={"Retry-After": "0"})
    server[1].faults.append(fault)
    assert list(client(load, f"{REPO}@")["revisions"]) == list(ALL)  # no revision after '@' is none
    assert fault.times == 0


def make_repo(repo_id: str) -> None:
    """In a client."""
    from huggingface_hub import HfApi

    HfApi().create_repo(repo_id)
    HfApi().upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id=repo_id)


def test_what_is_no_run_is_named_as_it_was_given(client: Client, tmp_path: Path) -> None:
    client(make_repo, "hf-listops/other")
    with pytest.raises(ClientError, match=r"ListOpsError: run: 'hf-listops/other' holds no run\.yaml; a right one is"):
        client(load, "hf-listops/other")
    with pytest.raises(ListOpsError, match=rf"run: '{tmp_path}' holds no run\.yaml; a right one is"):
        load_histories([str(tmp_path)])


@pytest.mark.parametrize("analyze", [load_histories, dynamics.analyze, transfer.analyze])
def test_no_run(analyze: Any) -> None:
    with pytest.raises(ListOpsError, match="model: no run is named; a right one is"):
        analyze([])
