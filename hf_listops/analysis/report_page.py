"""A `Report` as one HTML page that opens from a file and loads nothing else.

Names and cards are untrusted: the template escapes everything, the data stand in a block that is no script, and the page's
policy lets no other script run and no address be loaded.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from hf_listops.analysis import dynamics_picture, dynamics_report, embeddings_report, reliance_report, transfer_report
from hf_listops.analysis.outputs import plain_numbers
from hf_listops.analysis.report import Report, analyze
from hf_listops.analysis.report_cards import card_html, read_card
from hf_listops.analysis.report_models import Model
from hf_listops.data.build import EVALUATION_ROWS
from hf_listops.data.files import write_atomically
from hf_listops.errors import ListOpsError
from hf_listops.hub.pictures import COLORS, curriculum_picture

FILE = "report.html"
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Extras:
    """What stands beside a model's numbers: its card as HTML, and the picture of its curriculum as a data URI."""

    card: str | None
    curriculum: str | None


def make_report(
    names: Sequence[str], out: Path, rows: int = EVALUATION_ROWS, permutations: int = 1999, draws: int = 199
) -> Path:
    """Writes `out/report.html` and returns its path.

    Args:
        names (`Sequence[str]`), rows (`int`), permutations (`int`), draws (`int`): as in `report.analyze`.
        out (`Path`): where to.

    Raises:
        ListOpsError: as `report.analyze`, or the extra `report` is not installed.
    """
    plotly_library()  # before the long work
    report = analyze(names, rows, permutations, draws)
    text = page(report, {model.name: _extras(model) for model in report.models})
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / FILE, text)
    return out / FILE


def plotly_library() -> str:
    """The JavaScript of plotly. Raises `ListOpsError` if the extra `report` is not installed."""
    try:
        import markdown_it  # noqa: F401
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise ListOpsError(
            f"report: the page needs {error.name}; install the extra with: pip install 'hf_listops[report]'"
        ) from None
    return str(get_plotlyjs())


def page(report: Report, extras: dict[str, Extras]) -> str:
    """The page of a report, with what stands beside each model by its name."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    scripts = [plotly_library(), (_HERE / "report.js").read_text()]
    data = {"colors": COLORS, "report": json.loads(plain_numbers(report))}
    templates = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=FileSystemLoader(_HERE),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("report.html.jinja").render(
        report=report,
        extras=extras,
        columns=_columns(report),
        shown=_figures(report),
        data=json.dumps(data).replace("<", "\\u003c"),  # so that no text in it ends the block
        style=(_HERE / "report.css").read_text(),
        scripts=scripts,
        hashes=[_sha256(script) for script in scripts],
    )


@dataclass(frozen=True)
class Figures:
    """Pictures as data URIs, and their tables as HTML."""

    pictures: tuple[str, ...]
    tables: str


def _figures(report: Report) -> dict[str, Figures]:
    """What each analysis draws and tabulates, by its name; nothing of one that could not be made."""
    embeddings = report.embeddings
    pictures = tuple(_picture(embeddings_report.draw, group) for group in embeddings.groups)
    shown = {"embeddings": Figures(pictures, card_html("\n".join(embeddings_report.measure_table(embeddings))))}
    reports: dict[str, tuple[Any, Callable[[Any], Any], Callable[[Any], str]]] = {
        "dynamics": (report.dynamics, dynamics_picture.draw, dynamics_report.markdown),
        "transfer": (report.transfer, transfer_report.draw, transfer_report.markdown),
        "reliance": (report.reliance, reliance_report.draw, reliance_report.markdown),
    }
    for name, (result, draw, markdown) in reports.items():
        if result is not None:
            shown[name] = Figures((_picture(draw, result),), card_html(markdown(result)))
    return shown


def _picture(draw: Callable[[Any], Any], result: Any) -> str:
    """A Matplotlib figure as a data URI. Names in it are no formulas, whatever dollars they hold."""
    import matplotlib

    file = BytesIO()
    with matplotlib.rc_context({"text.parse_math": False, "svg.hashsalt": "hf_listops"}):
        draw(result).savefig(file, format="svg", metadata={"Date": None})
    return _data_uri("svg+xml", file.getvalue())


def _extras(model: Model) -> Extras:
    card = read_card(model.name)
    picture = None
    if model.curriculum and model.steps:
        config = {"curriculum": [asdict(knot) for knot in model.curriculum]}
        picture = _data_uri("png", curriculum_picture(config, model.steps))
    return Extras(None if card is None else card_html(card), picture)


def _columns(report: Report) -> list[tuple[str, str, str]]:
    """Every task that a model was tested on at its end, its mix and the rest of its name; single operations first."""
    mixes = {curve.task: curve.mix for model in report.models for curve in model.curves}
    order = [*COLORS]
    columns = [(task, mix, task.removeprefix(mix.lower().replace("+", "-") + "-")) for task, mix in mixes.items()]
    return sorted(columns, key=lambda of: (order.index(of[1]) if of[1] in order else len(order), of))


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _sha256(script: str) -> str:
    """As a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
