"""`audioformer verify`: check that the files of a folder of codes are those that were written."""

import argparse
from collections.abc import Sequence

DESCRIPTION = (
    "Read every file of a folder of codes and compare it with the checksums in its codes.json. Folders of earlier "
    "versions have no checksums: of these, columns, rows and the numbers of codes are compared. The exit status is 1 "
    "if a file is missing, damaged or foreign; `audioformer encode` with the same source makes such files again."
)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `audioformer verify`."""
    parser = argparse.ArgumentParser(prog="audioformer verify", description=DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", help="folder that `audioformer encode` wrote, or that was downloaded")
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the flags of the command."""
    return build_parser().parse_args(argv)


def run(arguments: argparse.Namespace) -> int:
    """Check the folder, and say what was found."""
    from audioformer.data.codes.verify import verify_codes

    check = verify_codes(arguments.folder)
    print(check.to_text())
    check.raise_if_damaged()
    return 0
