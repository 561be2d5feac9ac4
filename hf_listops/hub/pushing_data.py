"""Built datasets on the Hub: the very files, in one commit, beside the configs that are there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_listops.data.build import MANIFEST, SIZES, build_like, file_name
from hf_listops.data.card import dataset_card
from hf_listops.data.files import sha256_of
from hf_listops.data.remote import explained
from hf_listops.errors import ListOpsError
from hf_listops.hub.api import default_namespace, persistently, read_json
from hf_listops.hub.names import dataset_repo
from hf_listops.hub.publishing import MAIN, Published
from hf_listops.language import Task


def push_data(tasks: Sequence[Task], folder: Path, repo_id: str | None = None, *, private: bool = False) -> Published:
    """Publishes the configs of some tasks from a built dataset's folder, building what it lacks like what it has.

    Args:
        tasks (`Sequence[Task]`): one config each.
        folder (`Path`): as `data build --out` takes it.
        repo_id (`str`, *optional*): `{user of the token}/listops` by default.
        private (`bool`): of a repo that is made now.

    Raises:
        ListOpsError: the repo holds a dataset of another seed, version or size, a file differs from the folder's
            manifest, or the Hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    user = default_namespace(api)
    repo_id = repo_id or dataset_repo(user)
    build_like(tasks, folder)
    built = json.loads((folder / MANIFEST).read_text())
    wanted = {task.name: built["configs"][task.name] for task in tasks}
    for name, splits in wanted.items():
        for split, about in splits.items():
            path = folder / name / file_name(split)
            if not path.is_file() or sha256_of(path) != about["sha256"]:
                raise ListOpsError(
                    f"out: {str(path)!r} is missing or differs from {MANIFEST}; build it anew elsewhere"
                )

    def push() -> int:
        head = api.repo_info(repo_id, repo_type="dataset", revision=MAIN).sha
        there = read_json(api, repo_id, MANIFEST, head, "dataset")
        manifest = _merged(repo_id, built, there, wanted)
        if manifest == there:
            return 0
        fresh = [name for name in wanted if (there or {"configs": {}})["configs"].get(name) != wanted[name]]
        files: dict[str, bytes | Path] = {
            f"{name}/{file_name(split)}": folder / name / file_name(split) for name in fresh for split in wanted[name]
        }
        files |= {MANIFEST: json.dumps(manifest, indent=1).encode(), "README.md": dataset_card(manifest).encode()}
        api.create_commit(
            repo_id,
            [CommitOperationAdd(path, content) for path, content in files.items()],
            commit_message=f"Add {', '.join(fresh[:3])}{' …' if len(fresh) > 3 else ''}",
            repo_type="dataset",
            parent_commit=head,
        )
        return len(fresh)

    with explained(repo_id, "dataset"):
        persistently(lambda: api.create_repo(repo_id, repo_type="dataset", private=private or None, exist_ok=True))
        added = persistently(push)
    return Published(repo_id, api.endpoint, len(wanted), added)


def _merged(
    repo_id: str, built: dict[str, Any], there: dict[str, Any] | None, wanted: dict[str, Any]
) -> dict[str, Any]:
    """The manifest of the repo with the configs that are pushed. Raises `ListOpsError` if the two were built differently."""
    if there is None:
        return {**built, "configs": dict(sorted(wanted.items()))}
    for field in ("generator_version", *SIZES):
        if there.get(field) != built.get(field):
            raise ListOpsError(
                f"repo: {repo_id!r} holds a dataset with {field} {there.get(field)!r}, not {built.get(field)!r}; choose "
                "another with --repo, such as me/listops-small"
            )
    return {**there, "configs": dict(sorted({**there["configs"], **wanted}.items()))}
