"""The commands `hf-listops hub …`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from hf_listops.errors import ListOpsError

ROOT = Path("outputs/hub")


def _serve(args: argparse.Namespace) -> None:
    from hf_listops.hub.server.serving import exports, running, wait_for_stop

    with running(args.root, args.user, args.host, args.port) as hub:
        sys.stdout.write(exports(hub))
        sys.stdout.flush()
        sys.stderr.write(f"serving {args.root} at {hub.endpoint}; Ctrl-C stops\n")
        wait_for_stop()


def _exec(args: argparse.Namespace) -> None:
    from hf_listops.hub.server.serving import execute, running

    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise ListOpsError("command: there is none; a right one is: hf-listops hub exec -- hf auth whoami")
    with running(args.root, args.user) as hub:
        code = execute(command, hub, os.environ)
    raise SystemExit(code)


def add_hub_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
    for parser in (serve, run):
        parser.add_argument("--root", type=Path, default=ROOT, help=f"the Hub's folder (default {ROOT})")
        parser.add_argument(
            "--user",
            action="append",
            default=[],
            metavar="NAME:TOKEN[:NAMESPACE=ROLE,…]",
            help="who may write to the namespace NAME, and read or write in others; by default hf-listops, with a random "
            "token kept under the root",
        )
