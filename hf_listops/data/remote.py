"""Names of models and datasets, `FOLDER` or `NAMESPACE/REPO[@REVISION]`, and the Hub's errors as sentences."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hf_listops.errors import ListOpsError

EXAMPLES = {"model": "hf-listops/listops-sum-mod10-depth2-d32-l2-h1-s0@step-2000", "dataset": "hf-listops/listops"}


def split_revision(name: str) -> tuple[str, str | None]:
    """`NAME@REVISION` as name and revision; a folder as it is."""
    if os.path.exists(name):
        return name, None
    repo_id, _, revision = name.partition("@")
    return repo_id, revision or None


def local_folder(name: str, kind: str = "model", patterns: Sequence[str] | None = None) -> Path:
    """A folder as it is, or the snapshot of a Hub repo at one commit, downloaded if the cache does not hold it.

    Args:
        name (`str`): a folder, or `NAMESPACE/REPO[@REVISION]` (`main` without a revision).
        kind (`str`): `model` or `dataset`.
        patterns (`Sequence[str]`, *optional*): download only files that match one.

    Raises:
        ListOpsError: there is no such folder, repo or revision, or the Hub cannot be reached.
    """
    if os.path.isdir(name):
        return Path(name)
    from huggingface_hub import snapshot_download

    repo_id, revision = split_revision(name)
    # One process at a time: the library removes and makes its links anew while another process may be reading them.
    with explained(repo_id, kind, revision), no_hub_bars(), _lock(repo_id, kind):
        return Path(
            snapshot_download(
                repo_id,
                repo_type=kind,
                revision=revision,
                allow_patterns=None if patterns is None else list(patterns),
            )
        )


@contextmanager
def _lock(repo_id: str, kind: str) -> Iterator[None]:
    from filelock import FileLock
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"listops-{kind}s--{repo_id.replace('/', '--')}.lock"):
        yield


@contextmanager
def no_hub_bars() -> Iterator[None]:
    """Many tiny files need no progress bar each."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    were_disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            enable_progress_bars()


def commit_of(folder: Path) -> str | None:
    """The commit of a snapshot in the cache, None for any other folder."""
    return folder.name if folder.parent.name == "snapshots" else None


@contextmanager
def explained(
    repo_id: str, kind: str = "model", revision: str | None = None, endpoint: str | None = None
) -> Iterator[None]:
    """Turns what goes wrong between us and a Hub into a `ListOpsError`."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = endpoint or constants.ENDPOINT
    shown = f"{repo_id!r}" if revision is None else f"{repo_id!r} at revision {revision!r}"
    try:
        yield
    except HFValidationError:
        raise ListOpsError(
            f"{kind}: {repo_id!r} is neither a folder nor a name on the Hub; a right one is {EXAMPLES[kind]!r}"
        ) from None
    except RevisionNotFoundError:
        known = _revisions(repo_id, kind, endpoint)
        raise ListOpsError(
            f"revision: {repo_id!r} at {where} has no {revision or 'main'!r}; it has {', '.join(known) or 'none'}"
        ) from None
    except RepositoryNotFoundError as error:
        if "Invalid user token" in str(error):
            raise _wrong_token(where) from None
        raise ListOpsError(
            f"{kind}: there is no {repo_id!r} at {where}, or the token (HF_TOKEN) may not see it, and no such folder; a "
            f"right one is {EXAMPLES[kind]!r}"
        ) from None
    except (OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
        if not constants.is_offline_mode():
            raise _unreachable(where, error) from None
        cached = cached_revisions(repo_id, kind)
        there = f"it holds {', '.join(cached)}" if cached else "it holds nothing of it"
        raise ListOpsError(
            f"{kind}: {shown} is no folder and not in the cache, or not all of it ({there}), and HF_HUB_OFFLINE is set; load "
            "it once while online"
        ) from None
    except EntryNotFoundError as error:
        raise ListOpsError(f"{kind}: {shown} lacks a file: {' '.join(str(error).split())[:160]}") from None
    except LocalTokenNotFoundError:
        raise _wrong_token(where, "there is none") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status == 401:
            raise _wrong_token(where) from None
        said = error.server_message or " ".join(str(error).split())[:200]
        raise ListOpsError(f"{kind}: {shown} at {where}: {said} (HTTP {status})") from None
    except (httpx2.TransportError, ConnectionError) as error:
        raise _unreachable(where, error) from None


def _wrong_token(endpoint: str, what: str = "it is not one of its users") -> ListOpsError:
    return ListOpsError(f"token: HF_TOKEN is not accepted at {endpoint} ({what}); log in with: hf auth login")


def _unreachable(endpoint: str, error: Exception) -> ListOpsError:
    reason = " ".join(str(error.__cause__ or error).split())[:120]
    return ListOpsError(
        f"endpoint: {endpoint} cannot be reached ({reason}); is HF_ENDPOINT right? An embedded Hub starts with: "
        "hf-listops hub serve"
    )


def _revisions(repo_id: str, kind: str, endpoint: str | None) -> list[str]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        refs = HfApi(endpoint=endpoint).list_repo_refs(repo_id, repo_type=kind)
    except HfHubHTTPError:
        return []
    return sorted((ref.name for ref in [*refs.branches, *refs.tags]), key=_by_number)


def _by_number(revision: str) -> tuple[str, int]:
    """`step-9` before `step-10`."""
    name, _, number = revision.rpartition("-")
    return (name, int(number)) if number.isdecimal() else (revision, 0)


def cached_revisions(repo_id: str, kind: str = "model") -> list[str]:
    """The revisions of a repo that the cache knows by name, `step-9` before `step-10`."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"{kind}s--{repo_id.replace('/', '--')}" / "refs"
    return sorted((str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()), key=_by_number)
