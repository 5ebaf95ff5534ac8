"""A file of vectors of clips, which several processes fill and a killed run resumes."""

import json
import os
import shutil
from pathlib import Path

import numpy as np

from audioformer.files import write_whole


class VectorFile:
    """An array on disk that is filled block by block: first a `.part` file and a folder of marks, then a `.npy` file.

    A block is finished once its mark exists, which is made after its vectors are on the disk. A block without a mark
    is overwritten. No page is mapped for writing, because processes on different nodes would overwrite each other's
    vectors where their blocks meet.

    Args:
        folder (`Path`): Folder of the file.
        key (`str`): Identifies what the vectors depend on; its first 32 characters become part of the name.
        shape (`tuple[int, ...]`): The clips come first; of the teachers' vectors it is `(num_clips, num_codebooks - 1,
            hidden_size)`.
        clips_per_block (`int`): Number of clips in a block.
        name (`str`, defaults to `"positives"`): What the name of the file begins with.
    """

    def __init__(
        self, folder: Path, key: str, shape: tuple[int, ...], clips_per_block: int, name: str = "positives"
    ) -> None:
        self.folder, self.shape, self.clips_per_block = folder, shape, clips_per_block
        self.path = folder / f"{name}-{key[:32]}.npy"
        self.part, self.marks = self.path.with_suffix(".part"), self.path.with_suffix(".blocks")

    def unfinished_blocks(self) -> list[tuple[int, int]]:
        """Return the first clip and the end of each block to compute. Create the `.part` file if there is none."""
        if self.path.exists():
            return []
        if not self.part.exists():
            # Marks without a `.part` file belong to vectors that no longer exist.
            shutil.rmtree(self.marks, ignore_errors=True)
            new = self.path.with_suffix(".new")
            np.lib.format.open_memmap(new, mode="w+", dtype=np.float32, shape=self.shape).flush()
            new.replace(self.part)
        self.marks.mkdir(exist_ok=True)
        starts = range(0, self.shape[0], self.clips_per_block)
        blocks = [(start, min(start + self.clips_per_block, self.shape[0])) for start in starts]
        return [block for block in blocks if not self._mark(block).exists()]

    def write(self, block: tuple[int, int], vectors: np.ndarray) -> None:
        """Write the vectors of a block, then mark it as finished.

        Args:
            block (`tuple[int, int]`): First clip and end of the block.
            vectors (`np.ndarray` of shape `(end - first, *shape[1:])`): float32.
        """
        offset = np.load(self.part, mmap_mode="r").offset
        with self.part.open("r+b") as file:
            file.seek(offset + block[0] * vectors[0].nbytes)
            file.write(vectors.tobytes())
            file.flush()
            os.fsync(file.fileno())
        self._mark(block).touch()

    def finish(self, contents: dict[str, object]) -> None:
        """Write the description, give the array its final name, and remove the marks."""
        description = json.dumps({"shape": self.shape, **contents}, indent=2) + "\n"
        write_whole(self.path.with_suffix(".json"), lambda path: path.write_text(description, encoding="utf-8"))
        self.part.replace(self.path)
        shutil.rmtree(self.marks)

    def _mark(self, block: tuple[int, int]) -> Path:
        return self.marks / f"{block[0]}-{block[1]}"
