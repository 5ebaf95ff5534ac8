"""Finds what must not be published: files that are not what they seem, secrets, paths of this machine, gaps."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from audioformer.files import CODES_MANIFEST, CONFIG, PREPROCESSOR_CONFIG

from .card_check import check_card
from .contents import WEIGHTS, WEIGHTS_INDEX, foreign_code, missing_code, read_contents, readable_settings
from .readers import PICTURES, UnreadableError, picture_without_text, read_texts
from .secret_scan import find_paths, find_paths_in_bytes, find_secrets, find_secrets_in_bytes

SHOWN = 3
"""Findings of one kind that are shown of a file."""
CHUNK = 32 * 1024**2
OVERLAP = 4096


def check_folder(folder: str | Path, include: Sequence[str] = (), *, own_numbers: bool = False) -> list[str]:
    """Look for what must not be published, in all files that would be uploaded.

    Args:
        folder (`str` or `Path`): A folder of `audioformer finetune`, `pretrain` or `encode`, or any with a model.
        include (sequence of `str`): Names of files that are uploaded besides those of a model or of codes.
        own_numbers (`bool`, defaults to `False`): Accept numbers on the card that no recorded result gives.

    Returns:
        `list[str]`: One sentence per finding, with the name of the file. Empty if there is nothing to object to.
    """
    contents = read_contents(Path(folder), include)
    return [*contents.findings, *check_files(Path(folder), contents.files, own_numbers=own_numbers)]


def check_files(folder: Path, files: Sequence[Path], *, own_numbers: bool = False) -> list[str]:
    """Look for what must not be published, see [`check_folder`].

    Args:
        folder (`Path`): The folder.
        files (`Sequence[Path]`): Files in it that are to be uploaded.
        own_numbers (`bool`, defaults to `False`): Accept numbers on the card that no recorded result gives.
    """
    findings = [finding for path in files for finding in file_findings(path, path.relative_to(folder).as_posix())]
    return [*findings, *missing_parts(folder), *check_card(folder, own_numbers=own_numbers)]


def file_findings(path: Path, name: str) -> Iterator[str]:
    """What is wrong with one file: it cannot be read as what its name says, or it holds secrets or paths.

    Args:
        path (`Path`): The file.
        name (`str`): What the findings call it.
    """
    try:
        texts = read_texts(path)
    except UnreadableError as error:
        yield f"{name} {error}"
        return
    except OSError as error:
        yield f"{name} cannot be read ({error})."
        return
    secrets = list(dict.fromkeys(secret for text in texts for secret in find_secrets(text)))
    paths = list(dict.fromkeys(found for text in texts for found in find_paths(text)))
    for data in _bytes_to_send(path):
        secrets += [kind for kind in find_secrets_in_bytes(data) if not any(kind in found for found in secrets)]
        paths += [found for found in find_paths_in_bytes(data) if not any(found in known for known in paths)]
    if secrets:
        # The secret itself is not repeated: messages end up in logs.
        yield f"{name} contains what looks like a secret: {'; '.join(secrets[:SHOWN])}."
    if paths:
        yield f"{name} contains paths of this machine: {', '.join(paths[:SHOWN])}."


def missing_parts(folder: Path) -> Iterator[str]:
    """What a folder with a model lacks in order to be loaded: weights, code, the codec. Nothing for codes."""
    if (folder / CODES_MANIFEST).is_file():
        return
    for name in missing_code(folder):
        yield f"{name} is missing, which `auto_map` names or its code imports: save the model again."
    for reference in foreign_code(folder):
        yield (
            f"`auto_map` names {reference}, code of another repository, which may change or vanish: save the model "
            "again, so that its code is in the folder."
        )
    if (folder / CONFIG).is_file():
        yield from _check_weights(folder, "")
    yield from _check_codec(folder)


def _bytes_to_send(path: Path) -> Iterator[bytes]:
    """The bytes that go out, in pieces that overlap."""
    if path.suffix.lower() in PICTURES:
        yield picture_without_text(path)
        return
    with path.open("rb") as file:
        end = b""
        while piece := file.read(CHUNK):
            yield end + piece
            end = piece[-OVERLAP:]


def _check_weights(folder: Path, prefix: str) -> Iterator[str]:
    index = folder / prefix / WEIGHTS_INDEX
    if not index.is_file():
        if not (folder / prefix / WEIGHTS).is_file():
            yield f"{prefix}{WEIGHTS} is missing: there are no weights of the model."
        return
    weight_map = readable_settings(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        yield f"{prefix}{WEIGHTS_INDEX} names no weights."
        return
    from safetensors import SafetensorError, safe_open

    for name in sorted({str(value) for value in weight_map.values()}):
        shard = folder / prefix / name
        if Path(name).name != name or not shard.is_file():
            yield f"{prefix}{name} is missing, which {prefix}{WEIGHTS_INDEX} names."
            continue
        try:
            with safe_open(shard, framework="numpy") as file:
                lacking = {key for key, value in weight_map.items() if value == name} - set(file.keys())
        except (SafetensorError, OSError):
            continue  # What is wrong with the file itself is found where it is read.
        if lacking:
            yield f"{prefix}{name} lacks {len(lacking)} weights that its index names, such as {min(lacking)}."


def _check_codec(folder: Path) -> Iterator[str]:
    settings = readable_settings(folder / PREPROCESSOR_CONFIG)
    if settings.get("codec") and not settings.get("codec_revision"):
        yield (
            f"{PREPROCESSOR_CONFIG} refers to the codec {settings['codec']!r} without a revision, so the codes could "
            "change with it: state one with --codec-revision."
        )
    subfolder = settings.get("codec_subfolder")
    if not subfolder:
        return
    if not (folder / str(subfolder) / CONFIG).is_file():
        yield f"{PREPROCESSOR_CONFIG} refers to a codec in {subfolder}/, which is missing."
    else:
        yield from _check_weights(folder, f"{subfolder}/")
