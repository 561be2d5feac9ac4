"""An embedded Hub in a thread."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hub_callers import Callers, calling


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callers]:
    with calling(tmp_path_factory.mktemp("hub") / "root") as callers:
        yield callers
