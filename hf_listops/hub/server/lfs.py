"""Large files of one repo: blobs under their sha256, and the pointers that stand for them in git."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dulwich.attrs import compile_gitattributes_patterns, match_path, parse_git_attributes

from hf_listops.data.files import sync_folder
from hf_listops.hub.server.errors import HubError

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:(?P<sha256>[0-9a-f]{64})\nsize (?P<size>\d+)\n"
)
_LONGEST_POINTER = 200
GITATTRIBUTES = ".gitattributes"
_LONGEST_ATTRIBUTES, _LONGEST_LINE = (
    1 << 20,
    2048,
)  # bytes; git ignores longer lines, and `git fsck` does not like them
LARGE = 1 << 20  # bytes from which any file is kept outside git
MOST_BYTES = 5 << 30  # of one file, as on huggingface.co in one upload
_EXTENSIONS = (
    "7z arrow avro bin bz2 ckpt ftz gz h5 joblib lz4 mlmodel model msgpack npy npz onnx ot parquet pb pickle pkl pt pth "
    "rar safetensors tar tflite tgz wasm xz zip zst"
)
ATTRIBUTES = "".join(f"*.{extension} filter=lfs diff=lfs merge=lfs -text\n" for extension in _EXTENSIONS.split())


@dataclass(frozen=True)
class Pointer:
    """What stands in git for a large file; `size` in bytes."""

    sha256: str
    size: int

    def to_bytes(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Pointer | None:
        match = _POINTER.fullmatch(content) if len(content) <= _LONGEST_POINTER else None
        return None if match is None else cls(match["sha256"].decode(), int(match["size"]))


def tracks(attributes: bytes, path: str) -> bool:
    """Whether the lines of a `.gitattributes` keep a path outside git."""
    patterns = compile_gitattributes_patterns(parse_git_attributes(io.BytesIO(attributes)))
    return match_path(patterns, path.encode()).get(b"filter") == b"lfs"


def check_attributes(path: str, content: bytes) -> None:
    """Raises `HubError` 400 for a `.gitattributes` that git would not read."""
    if len(content) > _LONGEST_ATTRIBUTES or any(len(line) >= _LONGEST_LINE for line in content.split(b"\n")):
        raise HubError(400, f"{path!r} has more than {_LONGEST_ATTRIBUTES} bytes, or a line of {_LONGEST_LINE}")


def attribute_line(path: str) -> bytes:
    """The line of `.gitattributes` that keeps one path outside git; `?` is any letter, as some would need quotes."""
    plain = re.sub(r"[^\w./-]", "?", path)
    return f"/{plain} filter=lfs diff=lfs merge=lfs -text\n".encode()


class LfsStore:
    """Blobs in the layout of git-lfs, `aa/bb/<sha256>`. One repo's own: a hash from elsewhere means nothing here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def incoming(self) -> Path:
        """Where blobs lie until they are whole."""
        return self.folder / "incoming"

    def create(self) -> None:
        self.incoming.mkdir(parents=True)

    def path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256[2:4] / sha256

    def size(self, sha256: str) -> int | None:
        """Bytes of a blob, None if it is not there."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def receive(self, sha256: str, size: int) -> Incoming:
        return Incoming(self, sha256, size)

    def total(self) -> int:
        """Bytes of all blobs."""
        return sum(path.stat().st_size for path in self.folder.glob("??/??/*"))


class Incoming:
    """A blob on its way in: a temporary file that becomes the blob only if its bytes are those announced."""

    def __init__(self, store: LfsStore, sha256: str, size: int) -> None:
        self.target, self.sha256, self.size = store.path(sha256), sha256, size
        self.digest, self.received = hashlib.sha256(), 0
        self.file: IO[bytes] = tempfile.NamedTemporaryFile(dir=store.incoming, delete=False)  # noqa: SIM115 (closed by finish or discard)

    def write(self, chunk: bytes) -> None:
        """Raises `HubError` 413 at the first byte too many."""
        self.received += len(chunk)
        if self.received > self.size:
            raise HubError(413, f"more than the {self.size} bytes announced")
        self.digest.update(chunk)
        self.file.write(chunk)

    def finish(self) -> None:
        """Puts the blob in its place, synced. Raises `HubError` 400 if it is not what was announced."""
        if self.received != self.size or self.digest.hexdigest() != self.sha256:
            raise HubError(400, f"the {self.received} bytes received are not the {self.size} of {self.sha256}")
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        inner, outer = self.target.parent, self.target.parent.parent
        for folder in (outer, inner):  # and not those above, which are gone if the repo was deleted or moved
            folder.mkdir(exist_ok=True)
        os.replace(self.file.name, self.target)
        for folder in (inner, outer, outer.parent):
            sync_folder(folder)

    def discard(self) -> None:
        """Removes what is left of it; after `finish` there is nothing."""
        with contextlib.suppress(OSError):  # what was buffered does not fit on the disk
            self.file.close()
        Path(self.file.name).unlink(missing_ok=True)


def read_range(path: Path, start: int, stop: int) -> Iterator[bytes]:
    """The bytes of a file from `start` to before `stop`, in pieces. The file is opened now, and may be deleted then."""
    return _pieces(open(path, "rb"), start, stop)


def _pieces(opened: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
    with opened as file:
        file.seek(start)
        while start < stop and (piece := file.read(min(1 << 20, stop - start))):
            start += len(piece)
            yield piece
