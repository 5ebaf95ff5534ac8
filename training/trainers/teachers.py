"""The frozen models of FT2, and their vectors of every clip, computed once (AudioFormer, arXiv 2308.07221, 3.3.2)."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock
from tqdm.auto import tqdm

from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerModel, AudioFormerPreTrainedModel

from ..examples.codes import CodeExamples
from ..examples.collators import DataCollatorForCodecClassification

Result = TypeVar("Result")

CLIPS_PER_BLOCK = 256
"""Clips whose vectors are computed, written and marked as finished together: what a kill loses at most."""

FORWARD_SETTINGS = (
    "codebook",
    "num_attention_heads",
    "hidden_act",
    "layer_norm_eps",
    "rope_parameters",
    "pad_token_id",
)
"""Fields of the configuration that change vectors without changing the shape of a weight."""


def load_teachers(
    teachers: Sequence[str | Path | AudioFormerPreTrainedModel], config: AudioFormerConfig
) -> list[AudioFormerModel]:
    r"""
    The frozen encoders that give the positives of FT2: those of the rows C2 to CN next to an anchor of row C1.

    Configurations are checked before any weight is read.

    Args:
        teachers (sequence of `str`, `Path` or [`AudioFormerPreTrainedModel`]):
            Folders or Hub ids of pre-trained models, with or without the masked-LM head, or such models, which are
            frozen in place. The row that a model reads is its `config.codebook`.
        config ([`AudioFormerConfig`]):
            That of the anchor, the model to fine-tune.

    Returns:
        list of [`AudioFormerModel`], in the order of their rows: float32, in eval mode (no dropout), no gradients.

    Raises:
        `ValueError`: no teacher; a teacher that is no AudioFormer model, is of another `hidden_size` or
        `codebook_size` than the anchor, or reads the row of the anchor or of another teacher; a
        checkpoint that lacks weights of the encoder.
    """
    configs = [_config(teacher) for teacher in teachers]
    names = [_name(teacher) for teacher in teachers]
    for name, of_teacher in zip(names, configs, strict=True):
        for field in ("hidden_size", "codebook_size"):
            value, needed = getattr(of_teacher, field), getattr(config, field)
            if value != needed:
                raise ValueError(f"Teacher {name}: `{field}` must be that of the anchor, {needed}, got {value}.")
    _check_rows(names, configs, config.codebook)
    return sorted((_freeze(teacher) for teacher in teachers), key=lambda model: model.config.codebook)


@torch.no_grad()
def pooled_vectors(
    teachers: Sequence[AudioFormerModel], input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
) -> torch.Tensor:
    """
    Mean-pooled vectors of the teachers, each on its own row of the same clips.

    Args:
        teachers (sequence of [`AudioFormerModel`]):
            N - 1 frozen encoders, from [`load_teachers`].
        input_ids (`torch.LongTensor` of shape `(batch_size, N - 1, sequence_length)`):
            Ids of the rows in the order of the teachers, padded with PAD.
        attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
            1 where there is audio, in all rows; by default where the ids are not PAD.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, N - 1, hidden_size)`, float32, without gradient.

    Raises:
        `ValueError`: ids of another number of rows than there are teachers.
    """
    if input_ids.ndim != 3 or input_ids.shape[1] != len(teachers):
        raise ValueError(
            f"Ids for teachers must have the shape (batch_size, {len(teachers)}, sequence_length), one row a teacher, "
            f"got {tuple(input_ids.shape)}."
        )
    rows = zip(teachers, input_ids.unbind(1), strict=True)
    return torch.stack([teacher(ids, attention_mask).pooler_output for teacher, ids in rows], dim=1).float()


def build_positives(
    teachers: Sequence[AudioFormerPreTrainedModel],
    codes: Sequence[np.ndarray],
    ids: Sequence[str],
    cache_dir: str | Path,
    codec_fingerprint: str,
    batch_size: int = 16,
) -> np.memmap:
    r"""
    The positives of FT2, one vector for each clip and teacher, computed once and kept in a file.

    A frozen model without dropout gives the same vector in every epoch, so a second run on the same teachers, codec
    and clips finds the file and runs no teacher. The file is named by the SHA-256 of the weights and settings of the
    teachers, `codec_fingerprint`, and the ids and codes of the clips in their order. Work is done in blocks of 256
    clips, sorted by length within a block so that little is padded; a run that was killed goes on after the blocks
    that it finished. Under `accelerate launch` or `torchrun` the processes share the blocks and all must call;
    `cache_dir` then has to be a folder that all of them see. Several runs may use one folder at the same time.

    Args:
        teachers (sequence of [`AudioFormerPreTrainedModel`]):
            From [`load_teachers`]. They are moved to the device of this process.
        codes (sequence of `np.ndarray` of shape `(rows, frames)`):
            Codes of each clip, 0 to 1023, with at least the rows that the teachers read. Any random-access sequence:
            two passes over it, or one if the file is there.
        ids (sequence of `str`):
            A name for each clip.
        cache_dir (`str` or `Path`):
            Folder of the files; made if it is not there.
        codec_fingerprint (`str`):
            What identifies the codec that made the codes.
        batch_size (`int`, *optional*, defaults to 16):
            Clips in a forward pass. Vectors depend on it by rounding only (less than 1e-5), so it is not in the name.

    Returns:
        `np.memmap` of shape `(num_clips, len(teachers), hidden_size)`, float32, read-only, in the order of `codes`.
        Beside the `.npy` file lies a `.json` file that says what is in it.

    Raises:
        `ValueError`: no teacher or no clip; two teachers of one row or of two sizes; not as many ids as clips; a clip
        that lacks a row or is a list of copies, whose vectors differ by copy; a `batch_size` below 1; a `cache_dir`
        that this process does not share with the first one.
    """
    names, configs = [_name(teacher) for teacher in teachers], [teacher.config for teacher in teachers]
    rows = _check_rows(names, configs)
    sizes = sorted({config.hidden_size for config in configs})
    if len(sizes) > 1:
        raise ValueError(f"Teachers must have one `hidden_size`, got {sizes}.")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
    if not len(codes) or len(ids) != len(codes):
        raise ValueError(f"At least one clip, and as many ids as clips, are needed, got {len(ids)} and {len(codes)}.")
    state = PartialState()
    models = [_freeze(teacher).to(state.device) for teacher in teachers]
    # One process reads all codes for the name, rather than eight at once from one disk.
    key = _from_first_process(lambda: _key(models, _checked_clips(codes, ids, rows), codec_fingerprint))
    cache = _VectorFile(Path(cache_dir), key, (len(codes), len(rows), *sizes))
    cache.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(cache.path.with_suffix(".lock")) if state.is_main_process else nullcontext():
        # What is left is found out once: other processes may finish blocks before the last one has looked.
        blocks = _from_first_process(cache.unfinished_blocks)
        if blocks:
            _fill(cache, blocks, models, CodeExamples(codes, codebook=rows[0], positive_codebooks=rows), batch_size)
            state.wait_for_everyone()
        if state.is_main_process and not cache.path.exists():
            cache.finish({"codebooks": rows, "teachers": names, "codec_fingerprint": codec_fingerprint})
        state.wait_for_everyone()
    return np.load(cache.path, mmap_mode="r")


class _VectorFile:
    """An array on disk that is filled block by block: `.part` and a folder of marks at first, at last `.npy`.

    A block counts as finished once its mark is there, and the mark comes after its vectors are on the disk. Whatever
    lies in a block without a mark is overwritten. No page is mapped for writing: processes on several nodes would
    overwrite each other where their blocks meet.
    """

    def __init__(self, folder: Path, key: str, shape: tuple[int, int, int]) -> None:
        self.folder, self.shape = folder, shape
        self.path = folder / f"positives-{key[:32]}.npy"
        self.part, self.marks = self.path.with_suffix(".part"), self.path.with_suffix(".blocks")

    def unfinished_blocks(self) -> list[tuple[int, int]]:
        """First and last + 1 clip of what is to be computed; makes the `.part` file if there is none."""
        if self.path.exists():
            return []
        if not self.part.exists():
            # Marks without their file would be those of vectors that are gone.
            shutil.rmtree(self.marks, ignore_errors=True)
            new = self.path.with_suffix(".new")
            np.lib.format.open_memmap(new, mode="w+", dtype=np.float32, shape=self.shape).flush()
            new.replace(self.part)
        self.marks.mkdir(exist_ok=True)
        starts = range(0, self.shape[0], CLIPS_PER_BLOCK)
        blocks = [(start, min(start + CLIPS_PER_BLOCK, self.shape[0])) for start in starts]
        return [block for block in blocks if not self._mark(block).exists()]

    def write(self, block: tuple[int, int], vectors: np.ndarray) -> None:
        """Put `vectors` in their place, and mark the block once they are on the disk."""
        offset = np.load(self.part, mmap_mode="r").offset
        with self.part.open("r+b") as file:
            file.seek(offset + block[0] * vectors[0].nbytes)
            file.write(vectors.tobytes())
            file.flush()
            os.fsync(file.fileno())
        self._mark(block).touch()

    def finish(self, contents: dict[str, object]) -> None:
        """Describe the array, give it its name, and remove the marks."""
        description = {"shape": self.shape, **contents}
        self.path.with_suffix(".json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        self.part.replace(self.path)
        shutil.rmtree(self.marks)

    def _mark(self, block: tuple[int, int]) -> Path:
        return self.marks / f"{block[0]}-{block[1]}"


def _fill(
    cache: _VectorFile,
    blocks: Sequence[tuple[int, int]],
    teachers: Sequence[AudioFormerModel],
    examples: CodeExamples,
    batch_size: int,
) -> None:
    """Compute this process's share of the blocks."""
    state, collate = PartialState(), DataCollatorForCodecClassification()
    if not cache.part.exists():
        raise ValueError(
            f"`cache_dir` must be a folder that all processes see; what the first one made in {cache.folder} "
            f"is not there for process {state.process_index}."
        )
    own_blocks = blocks[state.process_index :: state.num_processes]
    with tqdm(
        total=sum(stop - start for start, stop in own_blocks),
        desc="vectors of the teachers",
        unit="clip",
        disable=not state.is_local_main_process,
    ) as progress:
        for start, stop in own_blocks:
            items = [examples[index] for index in range(start, stop)]
            order = sorted(range(len(items)), key=lambda index: len(items[index]["input_ids"]))
            vectors = np.empty((len(items), *cache.shape[1:]), dtype=np.float32)
            for first in range(0, len(order), batch_size):
                chosen = order[first : first + batch_size]
                batch = collate([items[index] for index in chosen])["positive_input_ids"]
                vectors[chosen] = pooled_vectors(teachers, batch.to(state.device)).cpu().numpy()
                progress.update(len(chosen))
            cache.write((start, stop), vectors)


def _key(teachers: Sequence[AudioFormerModel], clips: Iterable[tuple[str, np.ndarray]], codec_fingerprint: str) -> str:
    """SHA-256, in hexadecimal, of all that the vectors depend on."""
    digest = hashlib.sha256()

    def add(description: object, content: bytes = b"") -> None:
        # The length comes first: no two sequences of entries are the same bytes.
        text = json.dumps([description, len(content)], sort_keys=True).encode()
        digest.update(len(text).to_bytes(8, "little") + text + content)

    for teacher in teachers:
        add({field: getattr(teacher.config, field) for field in FORWARD_SETTINGS})
        for name, weight in sorted(teacher.state_dict().items()):
            add([name, list(weight.shape)], weight.detach().cpu().contiguous().numpy().tobytes())
    add(codec_fingerprint)
    for clip_id, rows in clips:
        add([str(clip_id), list(rows.shape)], np.ascontiguousarray(rows, dtype="<i4").tobytes())
    return digest.hexdigest()


def _checked_clips(
    codes: Sequence[np.ndarray], ids: Sequence[str], rows: Sequence[int]
) -> Iterator[tuple[str, np.ndarray]]:
    """Id and the rows that the teachers read, of each clip."""
    for clip_id, clip in zip(ids, codes, strict=True):
        if isinstance(clip, list):
            raise ValueError(
                f"Clip {clip_id!r} is a list of copies, each with vectors of its own: run the teachers online instead "
                "(`online_teachers`)."
            )
        if clip.ndim != 2 or len(clip) <= max(rows):
            raise ValueError(
                f"Clip {clip_id!r} must have codes of shape (rows, frames) with at least {max(rows) + 1} rows, as the "
                f"teachers read rows {list(rows)}, got {tuple(clip.shape)}. Encode it with more `num_codebooks`."
            )
        yield clip_id, clip[list(rows)]


def _from_first_process(compute: Callable[[], Result]) -> Result:
    """What `compute()` gives on the first process, which alone runs it, on all of them."""
    return broadcast_object_list([compute() if PartialState().is_main_process else None])[0]


def _check_rows(names: Sequence[str], configs: Sequence[AudioFormerConfig], anchor: int | None = None) -> list[int]:
    """Rows of the teachers, distinct and none of them the anchor's."""
    if not names:
        raise ValueError("At least one teacher is needed: a pre-trained model of another row than the anchor's.")
    taken = {} if anchor is None else {anchor: "the anchor"}
    for name, config in zip(names, configs, strict=True):
        if config.codebook in taken:
            raise ValueError(
                f"Teacher {name} reads row {config.codebook} (C{config.codebook + 1}, its `codebook`), the row of "
                f"{taken[config.codebook]}. It must read a row of its own, other than {sorted(taken)}."
            )
        taken[config.codebook] = f"teacher {name}"
    return [config.codebook for config in configs]


def _name(teacher: str | Path | AudioFormerPreTrainedModel) -> str:
    """What a message calls a teacher: its folder or Hub id where known."""
    if isinstance(teacher, str | Path):
        return repr(str(teacher))
    return repr(teacher.name_or_path or type(teacher).__name__)


def _config(teacher: str | Path | AudioFormerPreTrainedModel) -> AudioFormerConfig:
    if isinstance(teacher, AudioFormerPreTrainedModel):
        return teacher.config
    if not isinstance(teacher, str | Path):
        raise ValueError(
            f"A teacher must be a folder, a Hub id or an AudioFormer model, got {type(teacher).__name__}."
        )
    settings, _ = AudioFormerConfig.get_config_dict(teacher)
    if settings.get("model_type") != AudioFormerConfig.model_type:
        raise ValueError(
            f"Teacher {_name(teacher)}: `model_type` must be {AudioFormerConfig.model_type!r}, "
            f"got {settings.get('model_type')!r}."
        )
    return AudioFormerConfig.from_dict(settings)


def _freeze(teacher: str | Path | AudioFormerPreTrainedModel) -> AudioFormerModel:
    """The encoder of a teacher, without its head, in float32, in eval mode and without gradients."""
    if isinstance(teacher, str | Path):
        model, report = AudioFormerModel.from_pretrained(teacher, dtype=torch.float32, output_loading_info=True)
        if report["missing_keys"]:
            raise ValueError(
                f"Teacher {_name(teacher)} must hold every weight of the encoder, but lacks "
                f"{sorted(report['missing_keys'])[:5]}."
            )
    else:
        model = teacher.base_model.float()
    return model.eval().requires_grad_(False)
