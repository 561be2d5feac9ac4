"""Calling a Hub, the embedded one or huggingface.co: again after a while where that may help."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hf_listops.data.remote import explained
from hf_listops.errors import ListOpsError

T = TypeVar("T")
_ATTEMPTS, _LONGEST_WAIT = 6, 30.0  # seconds
_AGAIN = (412, 429, 500, 502, 503, 504)

logger = logging.getLogger(__name__)


def check_online() -> None:
    """Raises `ListOpsError` if HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        raise ListOpsError("endpoint: HF_HUB_OFFLINE is set, and this needs a Hub; unset it")


def default_namespace(api: Any) -> str:
    """The namespace of the token's user: `hf-listops` on an embedded Hub started without users.

    The first thing asked of a Hub, and asked once: a wrong endpoint or token is not waited for.

    Raises:
        ListOpsError: the token is wrong or missing, or the Hub cannot be reached.
    """
    check_online()
    with explained("whoami", endpoint=api.endpoint):
        return str(api.whoami()["name"])


def persistently(call: Callable[[], T], first_wait: float = 0.5) -> T:
    """Calls until it succeeds, up to six times: again after a lost race (412), 429, 5xx and a broken connection.

    The call must look anew at what is there each time, so that what got through before is not done twice. Waits half a
    second, then twice as long each time, or as long as the Hub says. A full disk (507) is not waited for.
    """
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    wait = first_wait
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with _causes_of_uploads():
                return call()
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status not in _AGAIN or attempt == _ATTEMPTS:
                raise
            problem, asked = f"HTTP {status}", error.response.headers.get("Retry-After", "")
        except httpx2.TransportError as error:
            if attempt == _ATTEMPTS:
                raise
            problem, asked = type(error).__name__, ""
        pause = min(_LONGEST_WAIT, float(asked) if asked.isdecimal() else wait * random.uniform(0.5, 1.5))
        logger.warning("%s; trying again in %.1f s", problem, pause)
        time.sleep(pause)
        wait *= 2
    raise AssertionError("unreachable")


@contextmanager
def _causes_of_uploads() -> Iterator[None]:
    """The client hides what went wrong with a large file in a `RuntimeError`: raises that instead."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__cause__, (HfHubHTTPError, httpx2.TransportError)):
            raise error.__cause__ from None
        raise


def read_json(api: Any, repo_id: str, path: str, revision: str | None, kind: str = "model") -> dict[str, Any] | None:
    """A JSON file of a repo at a revision, None if there is none."""
    from huggingface_hub.errors import EntryNotFoundError

    try:
        file = api.hf_hub_download(repo_id, path, repo_type=kind, revision=revision)
    except EntryNotFoundError:
        return None
    content: dict[str, Any] = json.loads(Path(file).read_text())
    return content
