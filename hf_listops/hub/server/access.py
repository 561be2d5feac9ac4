"""Who may do what: users and their tokens, and signed addresses for uploads."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hf_listops.errors import ListOpsError
from hf_listops.hub.server.errors import HubError
from hf_listops.hub.server.grammar import is_name

_UPLOAD_SECONDS = 3600
_EXAMPLE = "'alice:TOKEN', or 'alice:TOKEN:bob=read,team=write' for rights in other namespaces"


@dataclass(frozen=True)
class User:
    """`roles` maps a namespace to `read` or `write`: what may be done to its repos, private ones too."""

    name: str
    token_sha256: bytes
    roles: Mapping[str, str]

    def may_read(self, namespace: str) -> bool:
        return namespace in self.roles

    def may_write(self, namespace: str) -> bool:
        return self.roles.get(namespace) == "write"


def make_user(name: str, token: str, roles: Mapping[str, str] | None = None) -> User:
    """A user who writes to the namespace of their own name, unless `roles` says otherwise."""
    return User(name, hashlib.sha256(token.encode()).digest(), {name: "write", **(roles or {})})


def parse_user(text: str) -> tuple[User, str]:
    """The user and the token of `NAME:TOKEN[:NAMESPACE=ROLE,…]`. Raises `ListOpsError` if it does not parse."""
    name, _, rest = text.partition(":")
    token, _, grants = rest.partition(":")
    roles = dict(grant.partition("=")[::2] for grant in grants.split(",") if grant)
    if not is_name(name) or not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ListOpsError(f"user: {name!r} with its token is no user; a right one is {_EXAMPLE}")
    for namespace, role in roles.items():
        if not is_name(namespace) or role not in ("read", "write"):
            raise ListOpsError(f"user: {namespace}={role} is no role of {name!r}; a right one is {_EXAMPLE}")
    return make_user(name, token, roles), token


class Users:
    """All users of a server; only hashes of their tokens are kept."""

    def __init__(self, users: Iterable[User]) -> None:
        self.users = list(users)

    def authenticate(self, authorization: str | None) -> User | None:
        """The user of an `Authorization` header, None without one. Raises `HubError` 401 for an unknown token."""
        if authorization is None:
            return None
        kind, _, token = authorization.partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        found = [user for user in self.users if hmac.compare_digest(user.token_sha256, digest)]
        if kind.lower() != "bearer" or not found:
            raise HubError(401, "Invalid credentials in Authorization header")
        return found[0]


class UploadSigner:
    """Signs addresses at which one blob may be put for an hour: clients send no token there."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def sign(self, path: str, size: int) -> str:
        """The query of an address to which `size` bytes may be put."""
        expires = int(time.time()) + _UPLOAD_SECONDS
        return f"size={size}&expires={expires}&signature={self._signature(path, size, expires)}"

    def check(self, path: str, query: Mapping[str, str]) -> int:
        """The size of what may be put there, in bytes. Raises `HubError` 403 if not signed by us, or too late."""
        try:
            size, expires = int(query["size"]), int(query["expires"])
            signature = query["signature"].encode()
        except (KeyError, ValueError):
            raise HubError(403, "this upload address is not signed") from None
        right = self._signature(path, size, expires).encode()
        if not hmac.compare_digest(right, signature) or expires < time.time():
            raise HubError(403, "this upload address has a wrong signature or has expired; ask for a new one")
        return size

    def _signature(self, path: str, size: int, expires: int) -> str:
        return hmac.new(self._secret, f"PUT {path} {size} {expires}".encode(), hashlib.sha256).hexdigest()
