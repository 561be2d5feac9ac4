"""How a command shows what went wrong: one sentence, and an exit code that is not 0."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hf_listops.errors import ListOpsError

# What a path or a disk may do to a command: no fault of the code.
_PLAIN = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turns wrong input, a wrong path and a full disk into one sentence on standard error and exit code 2."""
    try:
        yield
    except ListOpsError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno not in _PLAIN:
            raise
        sys.stderr.write(
            f"error: {error.filename or 'the output folder'}: {os.strerror(error.errno)}; nothing was lost\n"
        )
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
