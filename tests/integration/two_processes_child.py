"""Run by torchrun: trains as one of two processes and logs the row ids that each update really takes."""

import json
import os
import sys
from pathlib import Path

from hf_listops.training.config import parse_run_config
from hf_listops.training.loop import make_accelerator, train
from hf_listops.training.run import Training

config = parse_run_config(sys.argv[2:])
accelerator = make_accelerator(config)
assert accelerator.num_processes == 2
assert os.environ["WORLD_SIZE"] == "2"
log: list[tuple[int, list[int]]] = []
rows = Training.rows


def logging_rows(self, indices):  # type: ignore[no-untyped-def]
    log.append((self.step, indices.tolist()))
    return rows(self, indices)


Training.rows = logging_rows  # type: ignore[method-assign]
train(config, accelerator)
Path(sys.argv[1], f"rank{accelerator.process_index}.json").write_text(json.dumps(log))
