"""Builds ListOps datasets as Parquet files: the same as `hf-listops data build`, with the same arguments.

`datasets` no longer runs loading scripts, so this makes files that `load_dataset` reads as they are.
"""

import argparse
import sys

from hf_listops.cli import add_build_arguments
from hf_listops.reporting import reporting_errors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add_build_arguments(parser)
    args = parser.parse_args()
    with reporting_errors():
        args.run_command(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
