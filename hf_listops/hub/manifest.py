"""The manifest of a checkpoint folder: the sha256 of every file, and where the weights come from."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hf_listops.data.files import sha256_of, write_atomically
from hf_listops.errors import ListOpsError

MANIFEST = "manifest.json"


@functools.cache
def provenance() -> dict[str, Any]:
    """Which code runs, on what: the git commit where there is one, the libraries' versions, and the kind of processor."""
    libraries = ("torch", "transformers", "datasets", "accelerate", "tokenizers", "numpy")
    versions = {"python": platform.python_version(), "processor": _processor()}
    for library in (*libraries, "hf_listops"):
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = "not installed"
    return {"commit": _commit(), "versions": versions}


def _processor() -> str:
    """The kind of processor by name and instruction sets: another one rounds otherwise."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().split("\n\n")[0].splitlines() if path.is_file() else []
    facts = {field.strip(): value.strip() for field, _, value in (line.partition(":") for line in lines)}
    if "flags" not in facts:
        return platform.processor() or platform.machine()
    flags = hashlib.sha256(" ".join(sorted(facts["flags"].split())).encode()).hexdigest()[:8]
    return f"{facts.get('model name', platform.machine())}, flags {flags}"


def _commit() -> str | None:
    """The commit of the source tree, with `+changes` if tracked files differ from it; None outside a repository."""
    folder = Path(__file__).parent
    git = ["git", "-C", str(folder)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=20)
        if head.returncode:
            return None
        status = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no", ":/hf_listops", ":/train.py"],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+changes" if status.stdout.strip() else "")


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Writes `manifest.json` for a folder that holds exactly the files of a checkpoint, nested ones too: called last."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    files = {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}
    write_atomically(folder / MANIFEST, manifest_text({**facts, **provenance(), "files": files}))


def manifest_text(manifest: dict[str, Any]) -> str:
    """A manifest as it is written."""
    return json.dumps(manifest, indent=1)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint folder, its files checked against it.

    Raises:
        ListOpsError: there is none, or a file is missing or differs.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ListOpsError(f"checkpoint: {str(folder)!r} holds no {MANIFEST}; a right one is a finished run's folder")
    manifest: dict[str, Any] = json.loads(path.read_text())
    for name, digest in manifest["files"].items():
        if not (folder / name).is_file() or sha256_of(folder / name) != digest:
            raise ListOpsError(f"checkpoint: {str(folder / name)!r} is missing or differs from {MANIFEST}")
    return manifest
