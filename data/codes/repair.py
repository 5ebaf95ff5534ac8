"""Finding damaged files of codes before encoding goes on, so that only these are made again."""

import logging
from collections.abc import Mapping
from pathlib import Path

from ..shards import ClipShards
from .integrity import FOREIGN, FileRecord, recorded_damage, unrecorded_damage
from .parquet_parts import all_parts, part_of_name, part_origin, parts_of_shard

logger = logging.getLogger(__name__)

FOREIGN_SUFFIX = ".foreign"
"""Appended to the names of files that do not belong to a folder."""


def remove_damaged(
    folder: Path, shards: ClipShards, shard: int, records: Mapping[str, FileRecord], *, checksums: bool
) -> bool:
    """Remove the files of a shard that are not what was written; those of other clips are renamed.

    Args:
        folder (`Path`): The folder of codes.
        shards ([`ClipShards`]): What is encoded into it.
        shard (`int`): Index of the shard.
        records (`Mapping`): What `codes.json` records of each file, if the folder was finished before.
        checksums (`bool`): Whether every byte of recorded files is read; else their existence, sizes, rows and columns
            are checked. Other files, those of a run that was stopped, are always read.

    Returns:
        `bool`: Whether a file was removed, or is missing that was recorded.
    """
    changed = any(not (folder / name).is_file() for name in records if part_of_name(name)[0] == shard)
    for path in all_parts(folder, shard):
        if path.name in records:
            reason = recorded_damage(path, records[path.name], checksums=checksums)
        else:
            origin = part_origin(shards.fingerprint, *part_of_name(path.name))
            reason = FOREIGN if records else unrecorded_damage(path, contents=True, origin=origin)
        if reason is None:
            continue
        changed = True
        if reason == FOREIGN:
            _set_aside([path])
        else:
            logger.warning("%s %s: it is encoded again.", path, reason)
            path.unlink(missing_ok=True)
    return changed


def set_aside_foreign(folder: Path, shard: int) -> bool:
    """Rename files that follow the last part of a complete shard, so that readers do not take them for codes.

    Returns:
        `bool`: Whether there were any.
    """
    belong = {path for path, _ in parts_of_shard(folder, shard)}
    return _set_aside([path for path in all_parts(folder, shard) if path not in belong])


def set_aside_beyond(folder: Path, num_shards: int) -> bool:
    """Rename files of codes that belong to no shard.

    Returns:
        `bool`: Whether there were any.
    """
    return _set_aside([path for path in all_parts(folder) if not 0 <= part_of_name(path.name)[0] < num_shards])


def _set_aside(paths: list[Path]) -> bool:
    for path in paths:
        foreign = path.with_name(path.name + FOREIGN_SUFFIX)
        logger.warning("%s does not belong to these codes: it is now %s.", path, foreign.name)
        path.replace(foreign)
    return bool(paths)
