"""Checks every byte of a folder of codes."""

from dataclasses import dataclass, field
from pathlib import Path

from .encoded import damage_message, read_codes_info
from .integrity import FILES_KEY, Damage, find_damage
from .parquet_parts import all_parts


@dataclass(frozen=True)
class CodesCheck:
    """What a check of a folder of codes found.

    Args:
        folder (`Path`): The folder.
        num_files (`int`): Files of codes in it.
        num_bytes (`int`): Size of all of them.
        num_rows (`int`): Clips and windows that it should have.
        has_checksums (`bool`): Whether `codes.json` records checksums; folders of earlier versions have none.
        damaged (`list[Damage]`): What is wrong.
    """

    folder: Path
    num_files: int
    num_bytes: int
    num_rows: int
    has_checksums: bool
    damaged: list[Damage] = field(default_factory=list)

    def raise_if_damaged(self) -> None:
        """Raise a `ValueError` that names the damaged files, if there are any."""
        if self.damaged:
            raise ValueError(damage_message(self.folder, self.damaged))

    def to_text(self) -> str:
        """The result for the terminal."""
        size = f"{self.num_files:,} files, {self.num_rows:,} rows, {self.num_bytes / 1e6:,.1f} MB"
        if self.damaged:
            return "\n".join([f"{self.folder}: {size}, damaged:", *(f"  {damage}" for damage in self.damaged)])
        if self.has_checksums:
            return f"{self.folder}: {size}. Every checksum agrees."
        return (
            f"{self.folder}: {size}. An earlier version wrote it without checksums, so there is nothing to compare "
            "its bytes with. Every file can be read, and has the codes that its footer counts; no rows are missing."
        )


def verify_codes(folder: str | Path) -> CodesCheck:
    """Read every byte of a finished folder of codes and compare it with what was recorded when it was written.

    A folder of an earlier version has no checksums. Of such a folder, the columns, the numbers of rows, and the
    numbers of all codes in each file are compared.

    Args:
        folder (`str` or `Path`): Made by `audioformer encode` or [`encode_listing`], or downloaded.

    Returns:
        [`CodesCheck`]: The result; `damaged` is empty if everything is as it was written.

    Raises:
        ValueError: If it is not such a folder, was not finished, or its `codes.json` cannot be read.
    """
    folder, info = Path(folder), read_codes_info(folder)
    files = all_parts(folder)
    return CodesCheck(
        folder=folder,
        num_files=len(files),
        num_bytes=sum(file.stat().st_size for file in files),
        num_rows=info["report"]["found"],
        has_checksums=FILES_KEY in info,
        damaged=find_damage(folder, info, checksums=True),
    )
