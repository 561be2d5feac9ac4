"""A run's folder on the Hub: each kept step a branch, made in order, the final state `main`.

Publishing looks at what is there and adds what is missing, so it can be repeated after any interruption and can run beside
the training. Of a revision the files of its manifest are published, with the card of the repo's name.
"""

from __future__ import annotations

import hashlib
import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hf_listops.data.remote import explained, no_hub_bars
from hf_listops.errors import ListOpsError
from hf_listops.hub.api import default_namespace, persistently, read_json
from hf_listops.hub.card import card_texts
from hf_listops.hub.manifest import MANIFEST, manifest_text, read_manifest
from hf_listops.hub.names import model_repo, parse_step_revision
from hf_listops.hub.run_folder import read_config, read_metrics

MAIN = "main"
GITATTRIBUTES = ".gitattributes"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """What publishing left on the Hub: how many revisions there are, and how many of them it added."""

    repo_id: str
    endpoint: str
    revisions: int
    added: int


def revisions_of(folder: Path) -> dict[str, Path]:
    """The checkpoints of a run's folder by revision: `step-{n}` in order, then `main` if the run is finished."""
    steps = {path.name: path for path in (folder / "steps").glob("step-*") if (path / MANIFEST).is_file()}
    found = dict(sorted(steps.items(), key=lambda item: parse_step_revision(item[0])))
    if (folder / MANIFEST).is_file():
        found[MAIN] = folder
    return found


def stage(folder: Path, repo_id: str) -> dict[str, bytes]:
    """The files of a checkpoint as they stand in a repo: its own, with the card of that name, and the manifest of them.

    Raises:
        ListOpsError: a file is missing or differs from the manifest.
    """
    manifest = read_manifest(folder)
    files = {name: (folder / name).read_bytes() for name in manifest["files"]}
    facts = {name: value for name, value in manifest.items() if name != "files"}
    files |= card_texts(read_config(folder), read_metrics(folder), facts, repo_id)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    return {**files, MANIFEST: manifest_text({**facts, "files": hashes}).encode()}


class Publisher:
    """Publishes one run, remembering what it has seen on the Hub."""

    def __init__(self, folder: Path, run: str, config_hash: str, namespace: str | None, private: bool = False) -> None:
        """Makes the repo if need be.

        Args:
            folder (`Path`): the run's, which may still grow.
            run (`str`), config_hash (`str`): the run's name and the hash of its config.
            namespace (`str`, *optional*): the user of the token by default.
            private (`bool`): of a repo that is made now.

        Raises:
            ListOpsError: the repo holds another run, or the Hub refuses or cannot be reached.
        """
        from huggingface_hub import HfApi

        self.api, self.folder, self.hash = HfApi(), folder, config_hash
        user = default_namespace(self.api)
        self.repo_id = model_repo(namespace or user, run)
        self._heads: dict[str, str] = {}  # commits of the revisions known to be right
        self._first = ""  # the commit that every Hub makes with a new repo
        with explained(self.repo_id):
            persistently(lambda: self._open(private))

    def _open(self, private: bool) -> None:
        self.api.create_repo(self.repo_id, private=private or None, exist_ok=True)
        self._first = str(self.api.list_repo_commits(self.repo_id, revision=MAIN)[-1].commit_id)
        for _, head in sorted(self._branches().items())[:2]:  # `main` and a step: all of a repo are of one run
            self._check_run(self._manifest(head))

    def push(self, progress: bool = True) -> Published:
        """Adds what the folder holds and the Hub does not.

        Raises:
            ListOpsError: a revision on the Hub has other weights, a file differs from its manifest, or the Hub refuses.
        """
        revisions = revisions_of(self.folder)
        added, parent = 0, self._first
        with explained(self.repo_id), no_hub_bars():
            bar = tqdm(revisions, desc=f"publishing {self.repo_id}", unit="revision", disable=not progress)
            for name in bar:
                bar.set_postfix_str(name)
                if name not in self._heads:
                    added += self._push_revision(name, revisions[name], parent)
                parent = self._heads[name]
        return Published(self.repo_id, self.api.endpoint, len(revisions), added)

    def _push_revision(self, name: str, folder: Path, parent: str) -> bool:
        """Sees that a revision is there, on top of the one before it. Returns whether it had to be added."""
        files = stage(folder, self.repo_id)
        mine = json.loads(files[MANIFEST])

        def add() -> bool:
            head = self._branches().get(name)
            if head is None:
                self.api.create_branch(self.repo_id, branch=name, revision=parent, exist_ok=True)
                head = parent
            there = self._manifest(head)
            self._check_run(there)
            if there is not None and there["step"] == mine["step"]:
                if there["files"]["model.safetensors"] != mine["files"]["model.safetensors"]:
                    raise ListOpsError(
                        f"repo: {self.repo_id!r} holds other weights at {name!r} than {str(folder)!r}; delete the repo, or "
                        "set another variant"
                    )
                self._heads[name] = head
                return False
            if head != (self._first if name == MAIN else parent):
                raise ListOpsError(
                    f"repo: {name!r} of {self.repo_id!r} is not where publishing left it; delete the repo"
                )
            self._heads[name] = self._commit(name, head, files)
            return True

        return persistently(add)

    def _commit(self, name: str, head: str, files: dict[str, bytes]) -> str:
        """Makes a revision's one commit: these files and, but for `.gitattributes`, no others."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        stale = set(self.api.list_repo_files(self.repo_id, revision=head)) - {*files, GITATTRIBUTES}
        operations: list[Any] = [
            *(CommitOperationAdd(path, content) for path, content in files.items()),
            *(CommitOperationDelete(path) for path in sorted(stale)),
        ]
        title = f"Final state, step {json.loads(files[MANIFEST])['step']}" if name == MAIN else name
        made = self.api.create_commit(
            self.repo_id, operations, commit_message=title, revision=name, parent_commit=head
        )
        return str(made.oid)

    def _branches(self) -> dict[str, str]:
        return {ref.name: ref.target_commit for ref in self.api.list_repo_refs(self.repo_id).branches}

    def _manifest(self, commit: str) -> dict[str, Any] | None:
        """The manifest at a commit, None before the first checkpoint."""
        return read_json(self.api, self.repo_id, MANIFEST, commit)

    def _check_run(self, manifest: dict[str, Any] | None) -> None:
        if manifest is not None and manifest.get("hash") != self.hash:
            raise ListOpsError(
                f"repo: {self.repo_id!r} holds another run (config {manifest.get('hash')}, this one is {self.hash}); set "
                "another variant, such as --variant again"
            )


def publish(folder: Path, namespace: str | None = None, *, private: bool = False, progress: bool = True) -> Published:
    """Puts what a run's folder holds on the Hub: the kept steps in order, then the final state if it is finished.

    Raises:
        ListOpsError: there is nothing to publish, the Hub holds something else, refuses, or cannot be reached.
    """
    checkpoint = next(iter(revisions_of(folder).values()), None)
    if checkpoint is None:
        raise ListOpsError(f"run: {str(folder)!r} holds no checkpoint; a right one is a folder that train.py wrote")
    manifest = read_manifest(checkpoint)
    return Publisher(folder, manifest["run"], manifest["hash"], namespace, private).push(progress)


class BackgroundPublisher:
    """Publishes beside the training, one push at a time; what a push misses the next one adds."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publisher")
        self._running: Future[Published] | None = None

    def push(self) -> None:
        """Starts a push unless one is running. A failed one is a warning: the end of the run tries once more."""
        if self._running is not None:
            if not self._running.done():
                return
            self._report(self._running)
        self._running = self._thread.submit(self.publisher.push, False)

    def finish(self) -> Published:
        """Waits, and adds what is missing. Raises `ListOpsError` if that fails."""
        self._thread.shutdown(wait=True)
        if self._running is not None:
            self._report(self._running)
        return self.publisher.push()

    def abandon(self) -> None:
        """Waits for the push that is running: the run is to be resumed, and adds the rest then."""
        self._thread.shutdown(wait=True)
        if self._running is not None:
            self._report(self._running)

    @staticmethod
    def _report(push: Future[Published]) -> None:
        error = push.exception()
        if error is not None:
            logger.warning("publishing failed and will be tried again: %s", error)
