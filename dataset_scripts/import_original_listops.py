"""Turns an original ListOps file (value, tab, expression) into a dataset with our columns."""

import argparse
import sys
from pathlib import Path

from hf_listops.reporting import reporting_errors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="such as test_d20s.tsv; its stem becomes the config's name")
    parser.add_argument("--out", type=Path, required=True, help="the dataset's folder")
    parser.add_argument("--split", default="test", help="which split it becomes (default test)")
    args = parser.parse_args()
    with reporting_errors():
        from hf_listops.data.original import import_original

        rows = import_original(args.file, args.out, split=args.split)
        sys.stdout.write(f"{rows:,} rows in {args.out}, config {args.file.stem}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
