"""Trains one run: `accelerate launch train.py recipes/quickstart.yaml [--field value …]`.

Also `python train.py …`, and `torchrun --nproc_per_node 2 train.py …` for two processes on a CPU. A run stopped by
Ctrl-C or SIGTERM goes on with `--resume`; `--help` lists every field.
"""

import sys


def main() -> int:
    from hf_listops.reporting import reporting_errors

    with reporting_errors():
        from hf_listops.training.config import parse_run_config
        from hf_listops.training.loop import make_accelerator, train

        config = parse_run_config(sys.argv[1:])
        accelerator = make_accelerator(config)
        accelerator.print(f"{config.run_name} (config {config.hash}) in {config.folder}")
        outcome = train(config, accelerator)
        accelerator.print(
            f"{outcome.params_total:,} parameters, {outcome.params_non_embedding:,} outside the embeddings"
        )
        if outcome.stopped == "signal":
            again = " ".join(argument for argument in sys.argv[1:] if argument != "--resume")
            accelerator.print(f"stopped after step {outcome.step}; go on with: python train.py {again} --resume")
        else:
            accelerator.print(f"finished after step {outcome.step} ({outcome.stopped}): {outcome.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
