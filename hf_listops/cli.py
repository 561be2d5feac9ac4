"""The command line, `hf-listops`. Every command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_listops.cli_hub import add_hub_commands
from hf_listops.data.files import DATA
from hf_listops.errors import ListOpsError
from hf_listops.reporting import reporting_errors


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise ListOpsError(f"arguments: {message}; see '{self.prog} --help'")


def _tasks(args: argparse.Namespace) -> list[Any]:
    """The tasks of `data build` and `data push`, each once."""
    from hf_listops.data.mixes import published_tasks
    from hf_listops.language import Task

    tasks = published_tasks() if args.task == ["published"] else [Task.from_name(name) for name in args.task]
    if args.with_single_operations:
        tasks += [task.alone(operation) for task in tasks for operation in task.operations]
    return list(dict.fromkeys(tasks))


def _build(args: argparse.Namespace) -> None:
    from hf_listops.data.build import build

    tasks = _tasks(args)
    build(tasks, args.out, seed=args.seed, train_rows=args.train_rows, evaluation_rows=args.evaluation_rows)
    sys.stdout.write(f"{len(tasks)} configs in {args.out}\n")


def _check(args: argparse.Namespace) -> None:
    from hf_listops.data.check import check

    for name, rows in check(args.dataset, args.config).items():
        sys.stdout.write(f"{name}: {rows:,} rows are right\n")


def _push(args: argparse.Namespace) -> None:
    from hf_listops.hub.pushing_data import push_data

    done = push_data(_tasks(args), args.out, args.repo, private=args.private)
    sys.stdout.write(f"{done.endpoint}/datasets/{done.repo_id}: {done.added} of {done.revisions} configs added\n")


def _solve(args: argparse.Namespace) -> None:
    from hf_listops.evaluation.checkpoint import load_checkpoint
    from hf_listops.evaluation.solve import solve

    checkpoint = load_checkpoint(args.model)
    sys.stdout.write(f"{args.expression}\n")
    for line in solve(checkpoint, args.expression):
        mark = "right" if line.is_right else "wrong"
        note = (
            "" if line.is_right else f"  (right: {line.expected if line.expected is not None else 'no further line'})"
        )
        sys.stdout.write(f"  = {line.text}   {mark}{note}\n")
        sys.stdout.flush()


def _record(args: argparse.Namespace) -> None:
    from hf_listops.hub.records import add_records
    from hf_listops.training.records import make_record

    added = add_records([make_record(folder) for folder in args.run], args.to)
    sys.stdout.write(f"{added} records added to {args.to}\n")


def _show(paths: Sequence[Path], table: Path) -> None:
    """What an analysis has written, and its tables."""
    for path in paths:
        sys.stdout.write(f"{path}\n")
    sys.stdout.write(table.read_text())


def _curves(args: argparse.Namespace) -> None:
    from hf_listops.analysis.curves import learning_curves

    for path in learning_curves(args.run, args.out):
        sys.stdout.write(f"{path}\n")


def _emergence(args: argparse.Namespace) -> None:
    from hf_listops.analysis.emergence_readme import write_results
    from hf_listops.sweep.grid import read_sweep

    recipe = Path("recipes") / f"{args.records.parent.name}.yaml"  # a recipe's name is that of its results
    is_sweep = recipe.is_file() and "\ngrids:" in recipe.read_text()
    planned = len(read_sweep(recipe).runs) if is_sweep else None
    _show(write_results(args.records, args.out, planned, args.against), args.out / "emergence.md")


def _embeddings(args: argparse.Namespace) -> None:
    from hf_listops.analysis.embeddings import analyze
    from hf_listops.analysis.embeddings_report import write_report

    _show(
        write_report(analyze(args.model, args.above), args.out, parity_alone=args.parity), args.out / "embeddings.md"
    )


def _reliance(args: argparse.Namespace) -> None:
    from hf_listops.analysis.reliance import analyze
    from hf_listops.analysis.reliance_report import write_report

    _show(write_report(analyze(args.model, args.operation, args.rows, args.above), args.out), args.out / "reliance.md")


def _transfer(args: argparse.Namespace) -> None:
    from hf_listops.analysis.transfer import analyze
    from hf_listops.analysis.transfer_report import write_report

    _show(write_report(analyze(args.model), args.out), args.out / "transfer.md")


def _report(args: argparse.Namespace) -> None:
    from hf_listops.analysis.report_page import make_report

    sys.stdout.write(f"{make_report(args.model, args.out)}\n")


def _dynamics(args: argparse.Namespace) -> None:
    from hf_listops.analysis.dynamics import analyze
    from hf_listops.analysis.dynamics_report import write_report

    _show(write_report(analyze(args.model, args.operation), args.out), args.out / "dynamics.md")


def _table(lines: list[dict[str, Any]]) -> None:
    """Prints lines of one kind, right-aligned under their keys."""
    if not lines:
        return
    cells = [[str(key) for key in lines[0]]]
    for line in lines:
        cells.append([f"{value:.3g}" if isinstance(value, float) else f"{value}" for value in line.values()])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        sys.stdout.write("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + "\n")


def _sweep_plan(args: argparse.Namespace) -> None:
    from hf_listops.sweep.grid import read_sweep
    from hf_listops.sweep.plan import plan

    lines = plan(read_sweep(args.recipe))
    _table(lines)
    sys.stdout.write(
        f"{sum(of['runs'] for of in lines)} runs to do, {sum(of['hours'] for of in lines):.1f} core hours\n"
    )


def _sweep_status(args: argparse.Namespace) -> None:
    from hf_listops.sweep.grid import read_sweep
    from hf_listops.sweep.plan import eta_hours, status

    sweep = read_sweep(args.recipe)
    lines = status(sweep)
    _table(lines)
    left = eta_hours(sweep)
    done, runs = sum(of["done"] for of in lines), sum(of["runs"] for of in lines)
    spent = sum(of["hours"] for of in lines)
    sys.stdout.write(f"{done} of {runs} runs done in {spent:.2f} core hours")
    sys.stdout.write(f", {left:.2f} to go\n" if left is not None else "\n")


def _sweep_run(args: argparse.Namespace) -> None:
    from hf_listops.sweep.grid import read_sweep
    from hf_listops.sweep.runner import run_sweep

    sweep = read_sweep(args.recipe)
    ended = run_sweep(sweep, jobs=args.jobs, commit=args.commit, retry=args.retry)
    words = "done" if ended == "done" else f"stopped; go on with: hf-listops sweep run {args.recipe}"
    sys.stdout.write(f"{sweep.name}: {words} ({sweep.records})\n")


def _sweep_reproduce(args: argparse.Namespace) -> None:
    from hf_listops.sweep.reproduce import reproduce

    result = reproduce(args.records, args.run)
    if result.differences:
        raise ListOpsError(f"run: {result.run!r} came out differently in {', '.join(result.differences)}")
    sys.stdout.write(f"{result.run}: the same weights and accuracies\n")


def _quickstart(args: argparse.Namespace) -> None:
    from hf_listops.quickstart import quickstart

    raise SystemExit(quickstart(args.out))


def make_parser() -> argparse.ArgumentParser:
    """The commands and their arguments; each sets `run_command` to what carries it out."""
    parser = _Parser(prog="hf-listops", description="A ListOps laboratory on the Hugging Face stack.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="build and check datasets").add_subparsers(required=True, metavar="ACTION")
    add_build_arguments(data.add_parser("build", help="build the configs of some tasks as Parquet files with a card"))
    push = data.add_parser("push", help="publish the configs of some tasks, building what is not built yet")
    add_task_arguments(push)
    push.add_argument("--out", type=Path, default=DATA, help=f"the dataset's folder (default {DATA})")
    push.add_argument("--repo", help="NAMESPACE/REPO; listops of the token's user by default")
    push.add_argument("--private", action="store_true", help="make a new repo private")
    push.set_defaults(run_command=_push)
    check = data.add_parser("check", help="recompute every row of a dataset and the rules of its splits")
    check.add_argument("dataset", help="folder or Hub name")
    check.add_argument("--config", action="append", help="only this config (may be repeated)")
    check.set_defaults(run_command=_check)

    solve = commands.add_parser("solve", help="let a model solve one expression aloud")
    solve.add_argument("model", help="folder or NAMESPACE/REPO[@REVISION]")
    solve.add_argument("expression", help="such as '[SUM 3 [MAX 7 4 9 ] ]'")
    solve.set_defaults(run_command=_solve)

    analyze = commands.add_parser("analyze", help="ask a question of runs or records").add_subparsers(
        required=True, metavar="QUESTION"
    )
    curves = analyze.add_parser("curves", help="how did each operation's accuracy grow?")
    curves.add_argument("run", nargs="+", help="folder of a run, or NAMESPACE/REPO[@REVISION]")
    curves.set_defaults(run_command=_curves)
    emergence = analyze.add_parser("emergence", help="at which size is a mix learned?")
    emergence.add_argument("records", type=Path, help="such as results/figure1/runs.jsonl")
    emergence.add_argument(
        "--against", type=Path, help="records of the usual set-up, such as results/figure1/runs.jsonl"
    )
    emergence.set_defaults(run_command=_emergence)
    embeddings = analyze.add_parser("embeddings", help="which structure do the embeddings of the numbers have?")
    embeddings.add_argument("--parity", action="store_true", help="odd against even alone, in the best planes")
    embeddings.set_defaults(run_command=_embeddings)
    reliance = analyze.add_parser("reliance", help="does a model lean on its attention or its feed-forward layers?")
    reliance.add_argument("--operation", default="SUM", help="whose test rows are read (default SUM)")
    reliance.add_argument("--rows", type=int, default=2000, help="test rows (default all 2000)")
    reliance.set_defaults(run_command=_reliance)
    dynamics = analyze.add_parser("dynamics", help="how is a task learned over the steps, and when not?")
    dynamics.add_argument("model", nargs="+", help="a finished run with its revisions: folder or NAMESPACE/REPO")
    dynamics.add_argument("--operation", default="SUM", help="that set-ups are compared on (default SUM)")
    dynamics.set_defaults(run_command=_dynamics)
    transfer = analyze.add_parser("transfer", help="what does a curriculum change, against its last task alone?")
    transfer.add_argument("model", nargs="+", help="a finished run: folder or NAMESPACE/REPO")
    transfer.set_defaults(run_command=_transfer)
    for question in (embeddings, reliance):
        question.add_argument(
            "--above", type=float, default=0.0, help="leave out models that solve less of an operation, as in 0.9"
        )
        question.add_argument("model", nargs="+", help="folder or NAMESPACE/REPO[@REVISION]")
    for question in (curves, emergence, embeddings, reliance, dynamics, transfer):
        question.add_argument("--out", type=Path, required=True, help="folder for PNG, SVG and JSON")

    report = commands.add_parser("report", help="put all that is known of some models on one page, report.html")
    report.add_argument("model", nargs="+", help="folder or NAMESPACE/REPO[@REVISION]")
    report.add_argument("--out", type=Path, required=True, help="folder for report.html")
    report.set_defaults(run_command=_report)

    record = commands.add_parser("record", help="append the records of finished runs to a results file")
    record.add_argument("run", nargs="+", type=Path, help="folder of a finished run")
    record.add_argument("--to", type=Path, required=True, help="such as results/quickstart/runs.jsonl")
    record.set_defaults(run_command=_record)

    sweep = commands.add_parser("sweep", help="run grids of runs").add_subparsers(required=True, metavar="ACTION")
    for name, action, text in (
        ("plan", _sweep_plan, "show what is to be run, and its cost, before anything starts"),
        ("run", _sweep_run, "run what is not done yet"),
        ("status", _sweep_status, "show how far it is"),
    ):
        parser_of_action = sweep.add_parser(name, help=text)
        parser_of_action.add_argument("recipe", type=Path, help="such as recipes/figure1.yaml")
        parser_of_action.set_defaults(run_command=action)
        if name == "run":
            parser_of_action.add_argument("--jobs", type=int, default=1, help="processes at a time (default 1)")
            parser_of_action.add_argument(
                "--commit", help="revision whose code runs; by default that of the first start"
            )
            parser_of_action.add_argument("--retry", action="store_true", help="run again what ended in an error")
    reproduce = sweep.add_parser("reproduce", help="train one recorded run anew at its commit and compare")
    reproduce.add_argument("run", help="its name, or its hash")
    reproduce.add_argument("--records", type=Path, required=True, help="such as results/figure1/runs.jsonl")
    reproduce.set_defaults(run_command=_sweep_reproduce)

    add_hub_commands(commands)

    quickstart = commands.add_parser("quickstart", help="watch SUM being learned inside a mix and not alone")
    quickstart.add_argument("--out", type=Path, default=Path("outputs/quickstart"), help="folder for runs and picture")
    quickstart.set_defaults(run_command=_quickstart)
    return parser


def add_build_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `data build`, which `dataset_scripts/build_listops.py` shares."""
    add_task_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="the dataset's folder")
    parser.add_argument("--seed", type=int, default=0, help="of the rows (default 0)")
    parser.add_argument("--train_rows", type=int, default=100_000, help="rows of the train split (default 100000)")
    parser.add_argument("--evaluation_rows", type=int, default=2_000, help="rows of each other split (default 2000)")
    parser.set_defaults(run_command=_build)


def add_task_arguments(parser: argparse.ArgumentParser) -> None:
    """Which tasks: shared by `data build` and `data push`."""
    parser.add_argument("task", nargs="+", help="task names such as max-med-sum-mod10-depth2, or 'published' for all")
    parser.add_argument(
        "--with_single_operations", action="store_true", help="also the task of each operation alone, for evaluation"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    with reporting_errors():
        args = make_parser().parse_args(arguments)
        args.run_command(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
