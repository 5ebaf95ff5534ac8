"""`audioformer push`: a finished folder to the Hub."""

import argparse
from collections.abc import Sequence

from huggingface_hub.errors import HfHubHTTPError, HTTPError

from audioformer.model_cards.push import push_folder

DESCRIPTION = (
    "Upload a folder of `finetune` or `encode` in one commit: weights, configuration, extractor with its codec, code, "
    "card and curves. Pickles, paths of this machine, tokens, a missing licence and numbers that were not measured "
    "are refused before anything is sent."
)


def build_parser() -> argparse.ArgumentParser:
    """The flags of `audioformer push`."""
    parser = argparse.ArgumentParser(prog="audioformer push", description=DESCRIPTION)
    parser.add_argument("folder", metavar="FOLDER", help="what to upload; a folder of codes becomes a data set")
    parser.add_argument("repo_id", metavar="USER/NAME", help="repository; made if it is not there")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--license", metavar="ID", help="licence of the weights or codes, such as cc-by-4.0")
    parser.add_argument("--codec-revision", metavar="REV", help="commit of the codec on the Hub that is referred to")
    parser.add_argument("--revision", metavar="BRANCH", help="branch (default: main)")
    parser.add_argument("--message", default="Upload with audioformer", metavar="TEXT", help="title of the commit")
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Arguments of the command."""
    return build_parser().parse_args(argv)


def run(arguments: argparse.Namespace) -> int:
    """Check a folder and upload it.

    Raises:
        ValueError: If the folder must not be published, or the Hub cannot be reached or refuses it.
    """
    try:
        commit = push_folder(
            arguments.folder,
            arguments.repo_id,
            private=arguments.private,
            license=arguments.license,
            codec_revision=arguments.codec_revision,
            revision=arguments.revision,
            commit_message=arguments.message,
        )
    except HfHubHTTPError as error:
        raise ValueError(f"The Hub refused {arguments.repo_id!r}: {error}") from error
    except (HTTPError, RuntimeError) as error:
        # The client gives up an upload with a RuntimeError, after some attempts.
        raise ValueError(
            f"The connection to the Hub broke, or there is none ({error}). Run the same command again: what was "
            "uploaded is not sent twice."
        ) from error
    print(commit.commit_url)
    return 0
