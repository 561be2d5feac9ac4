"""Whether the files of a published run are what they say: a repo with its branches, or a run's folder with its steps."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from hf_listops.data.files import sha256_of
from hf_listops.data.remote import explained, local_folder, split_revision
from hf_listops.errors import ListOpsError
from hf_listops.hub.api import persistently
from hf_listops.hub.card import card_texts
from hf_listops.hub.manifest import MANIFEST
from hf_listops.hub.names import DEFAULT_NAMESPACE, model_repo, parse_step_revision
from hf_listops.hub.publishing import GITATTRIBUTES, MAIN, revisions_of
from hf_listops.hub.run_folder import RUN, read_config, read_metrics

WEIGHTS = "model.safetensors"
_NUMBER = re.compile(r"\d[\d.,]*")
_OWNER = re.compile(r"[\w.-]+/listops")


def all_revisions(name: str) -> dict[str, Path]:
    """Every revision of a repo, downloaded, or of a run's folder: `step-{n}` in order, then `main`.

    Raises:
        ListOpsError: there is no such repo or folder, or it holds no checkpoint.
    """
    if Path(name).is_dir():
        found = revisions_of(Path(name))
    else:
        repo_id, revision = split_revision(name)
        if revision is not None:
            raise ListOpsError(f"repo: {name!r} names one revision; leave '@{revision}' out, all of them are verified")
        found = {branch: local_folder(f"{repo_id}@{commit}") for branch, commit in branches_of(repo_id).items()}
        if not any((found[MAIN] / file).exists() for file in (MANIFEST, WEIGHTS)):  # the run is not finished
            del found[MAIN]
    if not found:
        raise ListOpsError(f"repo: {name!r} holds no checkpoint; a right one is a folder that train.py wrote")
    return found


def branches_of(repo_id: str) -> dict[str, str]:
    """The commits of a repo's branches on the Hub: `step-{n}` in order, then `main`; others hold no checkpoint of ours.

    Raises:
        ListOpsError: there is no such repo, or the Hub cannot be reached.
    """
    from huggingface_hub import HfApi

    with explained(repo_id):
        refs = persistently(lambda: HfApi().list_repo_refs(repo_id))
    commits = {ref.name: ref.target_commit for ref in refs.branches}
    steps = sorted(filter(is_step, commits), key=parse_step_revision)
    return {branch: commits[branch] for branch in (*steps, MAIN)}


def is_step(revision: str) -> bool:
    """Whether a branch is that of a training step."""
    try:
        parse_step_revision(revision)
    except ListOpsError:
        return False
    return True


def file_problems(name: str, revision: str, folder: Path) -> list[str]:
    """What is wrong inside one revision: its bytes, what the manifest says of them and of its place, and the card."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        files: dict[str, str] = dict(manifest["files"])
        step, _ = int(manifest["step"]), (manifest["run"], manifest["hash"])
    except (OSError, ValueError, KeyError, TypeError):
        return [f"{MANIFEST} is missing, or lacks files, step, run or hash"]
    problems = []
    for path, digest in files.items():
        if not (folder / path).is_file():
            problems.append(f"{path} is missing")
        elif sha256_of(folder / path) != digest:
            problems.append(f"{path} differs from {MANIFEST}")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if Path(name).is_dir() and revision == MAIN:  # a run's own folder holds more than its final state
        there = {path for path in there if "/" not in path and not path.startswith(".")}
    problems += [f"{path} is not in {MANIFEST}" for path in sorted(there - {*files, MANIFEST, GITATTRIBUTES})]
    if revision != MAIN and step != parse_step_revision(revision):
        problems.append(f"it is the checkpoint of step {step}")
    if not {RUN, WEIGHTS} <= set(files):
        return [*problems, f"{MANIFEST} names no {RUN} or no {WEIGHTS}"]
    if problems:
        return problems
    return problems + _card_problems(name, folder, manifest)


def _card_problems(name: str, folder: Path, manifest: dict[str, Any]) -> list[str]:
    """The card made anew from config, metrics and manifest, against the one that is there."""
    config, metrics = read_config(folder), read_metrics(folder)
    facts = {field: value for field, value in manifest.items() if field != "files"}
    try:
        repo_id = model_repo(DEFAULT_NAMESPACE, manifest["run"]) if Path(name).is_dir() else name
        card = card_texts(config, metrics, facts, repo_id)
    except (ListOpsError, KeyError, TypeError, ValueError) as error:
        return [f"no card can be made of its config, metrics and manifest ({error})"]
    problems = []
    last = max((line["step"] for line in metrics), default=0)
    is_final = any("final" in line for line in metrics)
    if last > manifest["step"] or (is_final and last != manifest["step"]):
        problems.append(f"{MANIFEST} says step {manifest['step']}, the metrics end at {last}")
    for path, content in card.items():
        if _numbers(_text(folder / path)) != _numbers(content.decode()):
            problems.append(f"{path} shows other numbers than its config, metrics and manifest")
    return problems


def _numbers(card: str) -> list[str]:
    """Every number of a card in order: a later version may say it in other words, but not with other numbers.

    A repo may have been copied to another owner, whose name may hold a number.
    """
    return _NUMBER.findall(_OWNER.sub("/listops", card))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def family_problems(name: str, revisions: dict[str, Path]) -> dict[str, list[str]]:
    """What is wrong between revisions: those of another run, and those that share their weights."""
    problems: dict[str, list[str]] = defaultdict(list)
    manifests = {revision: json.loads((folder / MANIFEST).read_text()) for revision, folder in revisions.items()}
    first = next(iter(manifests.values()))
    repo = split_revision(name)[0]
    owners: dict[str, str] = {}
    for revision, manifest in manifests.items():
        if (manifest["run"], manifest["hash"]) != (first["run"], first["hash"]):
            problems[revision].append(f"it belongs to the run {manifest['run']} (config {manifest['hash']})")
        elif not Path(name).is_dir() and not repo.endswith(f"/listops-{manifest['run']}"):
            problems[revision].append(f"it belongs to the run {manifest['run']}, not to this repo")
        weights = manifest["files"][WEIGHTS]
        owner = owners.setdefault(weights, revision)
        if manifests[owner]["step"] != manifest["step"]:
            problems[revision].append(f"its weights are those of {owner}")
    return problems
