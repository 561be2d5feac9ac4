"""What the embedded Hub answers when it does not do what was asked."""

from __future__ import annotations


class HubError(Exception):
    """An answer other than success.

    Args:
        status (`int`): HTTP status. A missing repo's becomes 401 for an anonymous caller.
        message (`str`): shown by the client.
        code (`str`, *optional*): `X-Error-Code`, from which the client chooses its exception.
        body (`dict`, *optional*): further JSON fields.
        headers (`dict`, *optional*): further headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        body: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.body, self.headers = body or {}, headers or {}


def repo_not_found() -> HubError:
    """The same for a repo that is missing and for one that the caller may not see."""
    return HubError(404, "Repository not found", "RepoNotFound")


def revision_not_found(revision: str) -> HubError:
    return HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(path: str, commit: str) -> HubError:
    """With the commit, so that the client can remember that the entry does not exist there."""
    return HubError(404, f"{path} does not exist", "EntryNotFound", headers={"X-Repo-Commit": commit})
