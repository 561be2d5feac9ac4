"""`kill -9` of the Hub while huggingface_hub pushes."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_ten_kills_lose_no_acknowledged_commit(tmp_path: Path) -> None:
    """The script checks after each; 200 of them are recorded in `results/faults/hub_kills.json`."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    script = Path(__file__).parent.parent / "hub_kills.py"
    command = [sys.executable, str(script), "10", str(tmp_path / "kills.json")]
    done = subprocess.run(
        command, env={**plain, "HF_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads((tmp_path / "kills.json").read_text())
    assert (seen["kills"], seen["lost"]) == (10, 0)
    assert seen["acknowledged"] == 13
