"""The commands `hf-listops hub …`."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_listops.errors import ListOpsError

if TYPE_CHECKING:
    from hf_listops.hub.server.serving import Running

ROOT = Path("outputs/hub")


@contextmanager
def _running(args: argparse.Namespace, host: str = "127.0.0.1", port: int = 0, *, quiet: bool) -> Iterator[Running]:
    """The embedded Hub of `serve` and `exec`."""
    try:
        from hf_listops.hub.server.serving import running
    except ModuleNotFoundError as error:
        raise ListOpsError(
            f"hub: the embedded Hub needs {error.name}; install the extra with: pip install 'hf_listops[hub]'"
        ) from None
    own_token = secrets.token_hex(20) if args.with_pretrained else None
    with running(args.root, args.user, host, port, publishes_as=own_token) as hub:
        if own_token is not None:
            from hf_listops.hub.pretrained import offer_pretrained

            scratch_home = str(args.root.absolute() / "tmp" / "hf_home")
            environment = {**hub.environment, "HF_TOKEN": own_token, "HF_HOME": scratch_home}
            offer_pretrained(args.root, environment, quiet=quiet)
        yield hub


def _serve(args: argparse.Namespace) -> None:
    with _running(args, args.host, args.port, quiet=False) as hub:
        from hf_listops.hub.server.serving import exports, wait_for_stop

        sys.stdout.write(exports(hub))
        sys.stdout.flush()
        sys.stderr.write(f"serving {args.root} at {hub.endpoint}; Ctrl-C stops\n")
        wait_for_stop()


def _exec(args: argparse.Namespace) -> None:
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise ListOpsError("command: there is none; a right one is: hf-listops hub exec -- hf auth whoami")
    with _running(args, quiet=True) as hub:
        from hf_listops.hub.server.serving import execute

        code = execute(command, hub, os.environ)
    raise SystemExit(code)


def _publish(args: argparse.Namespace) -> None:
    from hf_listops.hub.publishing import publish

    for folder in args.run:
        done = publish(folder, args.hub_namespace, private=args.private)
        sys.stdout.write(f"{done.endpoint}/{done.repo_id}: {done.added} of {done.revisions} revisions added\n")


def _mirror(args: argparse.Namespace) -> None:
    from hf_listops.hub.mirroring import mirror

    for repo_id in args.repo:
        done = mirror(
            args.source,
            args.destination,
            repo_id,
            args.repo_type,
            namespace=args.hub_namespace,
            source_token=os.environ.get("HF_SOURCE_TOKEN", False),
            destination_token=os.environ.get("HF_TOKEN"),
            private=args.private,
        )
        sys.stdout.write(
            f"{args.destination}/{done.repo_id}: {done.added} commits added, {done.revisions} revisions are the same\n"
        )


def _verify(args: argparse.Namespace) -> None:
    from hf_listops.training.verification import replay, verify

    wrong: list[str] = []
    for name in args.run:
        for of in verify(name):
            sys.stdout.write(f"{name} {of.revision}: {of.accuracies} accuracies recomputed, ")
            sys.stdout.write("right\n" if not of.problems else "; ".join(of.problems) + "\n")
            wrong += [f"{name} {of.revision}"] if of.problems else []
        if args.replay:
            done = replay(name, *args.replay)
            same = "the same weights, bit for bit" if done.apart == 0 else f"{done.apart:.1g} of the way apart, "
            if done.apart:
                same += "as another processor rounds" if done.is_right else "which are other weights"
            sys.stdout.write(f"{name} {done.start} to {done.end}: {done.steps} steps replayed, {same}\n")
            wrong += [] if done.is_right else [f"{name} {done.end}"]
    if wrong:
        raise ListOpsError(f"verify: {len(wrong)} revisions are not what they say: {', '.join(wrong)}")


def add_hub_commands(commands: Any) -> None:
    """Adds `hub` and its actions."""
    hub = commands.add_parser("hub", help="publish, verify, mirror; an embedded Hub for everyone without one")
    actions = hub.add_subparsers(required=True, metavar="ACTION")
    serve = actions.add_parser("serve", help="serve the embedded Hub until Ctrl-C; prints the exports to paste")
    serve.add_argument("--port", type=int, default=8090, help="0 for a free one (default 8090)")
    serve.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1: this machine only)"
    )
    serve.set_defaults(run_command=_serve)
    run = actions.add_parser("exec", help="run a command against the embedded Hub, then stop it")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the command and its arguments")
    run.set_defaults(run_command=_exec)
    publish = actions.add_parser("publish", help="put runs on the Hub: each kept step a branch, the final state main")
    publish.add_argument("run", nargs="+", type=Path, help="folder of a run")
    publish.set_defaults(run_command=_publish)
    verify = actions.add_parser("verify", help="see whether every revision of a run is what it says")
    verify.add_argument("run", nargs="+", help="NAMESPACE/REPO, or folder of a run")
    verify.add_argument(
        "--replay", nargs=2, metavar=("A", "B"), help="train from revision A to B and compare, as in step-0 step-16"
    )
    verify.set_defaults(run_command=_verify)
    mirror = actions.add_parser("mirror", help="copy repos from one Hub to another, with all their revisions")
    mirror.add_argument("source", help="endpoint, such as http://127.0.0.1:8090; HF_SOURCE_TOKEN for private repos")
    mirror.add_argument("destination", help="endpoint, such as https://huggingface.co; HF_TOKEN is its token")
    mirror.add_argument("repo", nargs="+", help="NAMESPACE/REPO")
    mirror.add_argument("--repo_type", choices=("model", "dataset", "space"), default="model", help="(default model)")
    mirror.set_defaults(run_command=_mirror)
    for parser in (publish, mirror):
        parser.add_argument(
            "--hub_namespace",
            help="owner of what is made; "
            + ("the token's user by default" if parser is publish else "that of the source by default"),
        )
        parser.add_argument("--private", action="store_true", help="make new repos private")
    for parser in (serve, run):
        parser.add_argument(
            "--with-pretrained",
            action="store_true",
            help="offer the models of pretrained/ by name, and the datasets of their tasks (built at the first start)",
        )
        parser.add_argument("--root", type=Path, default=ROOT, help=f"the Hub's folder (default {ROOT})")
        parser.add_argument(
            "--user",
            action="append",
            default=[],
            metavar="NAME:TOKEN[:NAMESPACE=ROLE,…]",
            help="who may write to the namespace NAME, and read or write in others; by default hf-listops, with a random "
            "token kept under the root",
        )
