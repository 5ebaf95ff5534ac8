"""`audioformer push`: uploads a finished folder to the Hub."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub.errors import HfHubHTTPError, HTTPError

from audioformer.model_cards.contents import WEIGHTS, WEIGHTS_SHARDS, read_settings
from audioformer.model_cards.push import push_folder

from ..files import CONFIG, PREPROCESSOR_CONFIG

DESCRIPTION = (
    "Upload a folder of `finetune`, `pretrain` or `encode` in one commit: weights, configuration, feature extractor "
    "with its codec, code, card and pictures. Other files are left out unless --include names them. Nothing is sent "
    "if a file is not what its name says, is a pickle, holds a secret or paths of this machine, or if weights or code "
    "are missing, or if the card states no licence or numbers that were not measured."
)


def build_parser() -> argparse.ArgumentParser:
    """The options of `audioformer push`."""
    parser = argparse.ArgumentParser(prog="audioformer push", description=DESCRIPTION)
    parser.add_argument("folder", metavar="FOLDER", help="what to upload; a folder of codes becomes a data set")
    parser.add_argument("repo_id", metavar="USER/NAME", help="repository; created if it does not exist")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--license", metavar="ID", help="licence of the weights or codes, such as cc-by-4.0")
    parser.add_argument("--codec-revision", metavar="REV", help="commit of the codec on the Hub that the model uses")
    parser.add_argument("--revision", metavar="BRANCH", help="branch (default: main)")
    parser.add_argument(
        "--include",
        nargs="+",
        default=[],
        metavar="FILE",
        help="further files in FOLDER to upload, by their names in it",
    )
    parser.add_argument(
        "--own-numbers",
        action="store_true",
        help="the numbers that you wrote into the card yourself may be published; by default only recorded ones may",
    )
    parser.add_argument("--message", default="Upload with audioformer", metavar="TEXT", help="title of the commit")
    return parser


def save_code(folder: Path) -> None:
    """Save the code of a model and its feature extractor into their folder, and name it in `auto_map`.

    The classes of the installed package load the folder and save it elsewhere; code and `auto_map` are taken over from
    there. Nothing else in the folder changes. A folder of a model that the package does not know, and that names no
    code, stays as it is.

    Args:
        folder (`Path`): A folder with a model.

    Raises:
        ValueError: If `auto_map` names a class that transformers does not have, or the package does not have the
            classes of the model.
    """
    # Imported here so that `--help` and wrong arguments answer at once.
    import transformers

    from ..registration import register_auto_classes

    register_auto_classes()
    with TemporaryDirectory() as scratch:
        for name in _auto_classes(folder):
            if not hasattr(transformers, name):
                raise ValueError(f"`auto_map` names {name}, which transformers {transformers.__version__} lacks.")
            try:
                loaded = getattr(transformers, name).from_pretrained(folder, trust_remote_code=False)
            except (ValueError, OSError, RuntimeError) as error:
                raise ValueError(f"The code of the model is missing and cannot be saved: {error}") from error
            loaded.save_pretrained(scratch)
        for path in Path(scratch).glob("*.py"):
            if not (folder / path.name).exists():
                copyfile(path, folder / path.name)
        for name in (CONFIG, PREPROCESSOR_CONFIG):
            settings, saved = read_settings(folder / name), read_settings(Path(scratch) / name)
            if settings and saved.get("auto_map") and not _names_own_code(settings):
                text = json.dumps({**settings, "auto_map": saved["auto_map"]}, indent=2, sort_keys=True)
                (folder / name).write_text(text + "\n", encoding="utf-8")


def check_weights(folder: Path) -> Iterator[str]:
    """Compare the weights in a folder with those that its model needs, for the models that the package knows.

    Args:
        folder (`Path`): A folder with a model whose files can be read.

    Yields:
        `str`: One sentence if weights are missing or have other shapes.
    """
    config = read_settings(folder / CONFIG)
    heads = {head.__name__: head for family, _, models in _families(config) for head in models.values()}
    head: Any = next((heads[name] for name in config.get("architectures") or [] if name in heads), None)
    if head is None:
        return
    import torch

    with torch.device("meta"):
        model = head(head.config_class.from_pretrained(folder))
    found = _shapes_of_weights(folder)
    tied = set(model.all_tied_weights_keys)
    wanted = {key: list(value.shape) for key, value in model.state_dict().items() if key not in tied}
    missing = sorted(set(wanted) - set(found))
    other = sorted(key for key, shape in wanted.items() if found.get(key, shape) != shape)
    if missing:
        yield f"The weights lack {len(missing)} of the {len(wanted)} of the model, such as {missing[0]}."
    if other:
        yield f"{len(other)} weights have another shape than in the model, such as {other[0]}."


def _shapes_of_weights(folder: Path) -> dict[str, list[int]]:
    from safetensors import safe_open

    shapes: dict[str, list[int]] = {}
    for file in [*folder.glob(WEIGHTS), *folder.glob(WEIGHTS_SHARDS)]:
        with safe_open(file, framework="numpy") as weights:
            names = weights.keys()
            shapes |= {name: weights.get_slice(name).get_shape() for name in names}
    return shapes


def _families(config: dict[str, Any]) -> list[Any]:
    from ..registration import FAMILIES

    return [entry for entry in FAMILIES if entry[0].model_type == config.get("model_type")]


def _names_own_code(settings: dict[str, Any]) -> bool:
    """Whether `auto_map` names code, and none of another repository."""
    return bool(settings.get("auto_map")) and "--" not in json.dumps(settings["auto_map"])


def _auto_classes(folder: Path) -> list[str]:
    """Auto classes that load everything in the folder, each part once."""
    config, settings = read_settings(folder / CONFIG), read_settings(folder / PREPROCESSOR_CONFIG)
    known: dict[str, str] = {}
    for family, _, heads in _families(config):
        known = {"AutoConfig": family.__name__, **{auto.__name__: head.__name__ for auto, head in heads.items()}}
    references = config.get("auto_map") or known
    models = [name for name in references if name.startswith("AutoModel")]
    # Of several heads, the one that the weights were saved with.
    saved = [name for name in models if references[name].split(".")[-1] in (config.get("architectures") or [])]
    others = [name for name in references if name not in models]
    extractors = settings.get("auto_map") or (["AutoFeatureExtractor"] if known and settings else [])
    return [*others, *(saved or models)[:1], *extractors]


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
            include=arguments.include,
            own_numbers=arguments.own_numbers,
            complete=save_code,
            check=check_weights,
        )
    except HfHubHTTPError as error:
        raise ValueError(f"The Hub refused {arguments.repo_id!r}: {error}") from error
    except (HTTPError, RuntimeError) as error:
        # After some attempts, the client gives up an upload with a RuntimeError.
        raise ValueError(
            f"There is no connection to the Hub, or it broke ({error}). Run the same command again: files that were "
            "uploaded are not sent twice."
        ) from error
    print(commit.commit_url)
    return 0
