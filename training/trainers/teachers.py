"""The frozen models of FT2 and their vectors for all clips (AudioFormer, arXiv 2308.07221, section 3.3.2)."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock
from tqdm.auto import tqdm

from audioformer.data.progress import hides_bars
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerModel, AudioFormerPreTrainedModel

from ..examples.codes import CodeExamples
from ..examples.collators import DataCollatorForCodecClassification
from .vector_file import VectorFile

Result = TypeVar("Result")

CLIPS_PER_BLOCK = 256
"""Clips whose vectors are computed, written and marked as finished together; a killed run loses at most these."""

FORWARD_SETTINGS = (
    "codebook",
    "num_attention_heads",
    "hidden_act",
    "layer_norm_eps",
    "rope_parameters",
    "pad_token_id",
)
"""Fields of the configuration that affect the vectors but not the shapes of the weights."""


def load_teachers(
    teachers: Sequence[str | Path | AudioFormerPreTrainedModel], config: AudioFormerConfig
) -> list[AudioFormerModel]:
    r"""
    Load the frozen encoders that compute the positives of FT2: those of the codebooks C2 to CN, for an anchor of C1.

    Configurations are checked before any weights are read.

    Args:
        teachers (sequence of `str`, `Path` or [`AudioFormerPreTrainedModel`]):
            Folders or Hub ids of pre-trained models, with or without the masked-LM head, or loaded models, which are
            frozen in place. A model reads the codebook `config.codebook`, and no others.
        config ([`AudioFormerConfig`]):
            Configuration of the anchor, the model to fine-tune. If it reads several codebooks, teachers may read the
            same ones: each then is a view of the clip that lacks what the other codebooks tell.

    Returns:
        `list` of [`AudioFormerModel`]: In the order of their codebooks, in float32 and eval mode (no dropout), without
        gradients.

    Raises:
        ValueError: If there is no teacher; if a teacher is not an AudioFormer model, differs from the anchor in
            `hidden_size` or `codebook_size`, reads several codebooks, or that of another teacher or of an anchor of
            one codebook; or if a checkpoint lacks weights of the encoder.
    """
    configs = [_config(teacher) for teacher in teachers]
    names = [_name(teacher) for teacher in teachers]
    for name, teacher_config in zip(names, configs, strict=True):
        for field in ("hidden_size", "codebook_size"):
            value, needed = getattr(teacher_config, field), getattr(config, field)
            if value != needed:
                raise ValueError(f"Teacher {name}: `{field}` must be that of the anchor, {needed}, got {value}.")
    _check_codebooks(names, configs, config.codebook if config.num_codebooks == 1 else None)
    return sorted((_freeze(teacher) for teacher in teachers), key=lambda model: model.config.codebook)


@torch.no_grad()
def pooled_vectors(
    teachers: Sequence[AudioFormerModel], input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
) -> torch.Tensor:
    """
    Compute the mean-pooled vectors of the teachers, each from its own codebook of the same clips.

    Args:
        teachers (sequence of [`AudioFormerModel`]):
            Frozen encoders from [`load_teachers`], `num_codebooks - 1` of them.
        input_ids (`torch.LongTensor` of shape `(batch_size, num_codebooks - 1, sequence_length)`):
            Ids of the codebooks, in the order of the teachers, padded with PAD.
        attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
            1 where there is audio, for all codebooks; by default where the ids are not PAD.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_codebooks - 1, hidden_size)`: Vectors in float32, without
        gradient.

    Raises:
        ValueError: If the ids have another number of codebooks than there are teachers.
    """
    if input_ids.ndim != 3 or input_ids.shape[1] != len(teachers):
        raise ValueError(
            f"Ids for teachers must have the shape (batch_size, {len(teachers)}, sequence_length), one codebook per "
            f"teacher, got {tuple(input_ids.shape)}."
        )
    pairs = zip(teachers, input_ids.unbind(1), strict=True)
    return torch.stack([teacher(ids, attention_mask).pooler_output for teacher, ids in pairs], dim=1).float()


def build_positives(
    teachers: Sequence[AudioFormerPreTrainedModel],
    codes: Sequence[np.ndarray],
    ids: Sequence[str],
    cache_dir: str | Path,
    codec_fingerprint: str,
    batch_size: int = 16,
) -> np.memmap:
    r"""
    Compute the positives of FT2, one vector per clip and teacher, once, and keep them in a file.

    A frozen model without dropout computes the same vector in every epoch, so a second run with the same teachers,
    codec and clips finds the file and runs no teacher. The file is named by the SHA-256 of the weights and settings of
    the teachers, `codec_fingerprint`, and the ids and codes of the clips in their order. The work is done in blocks of
    256 clips, sorted by length within a block to save padding; a run that was killed resumes after the blocks it has
    finished. Under `accelerate launch` or `torchrun` the processes share the blocks. All of them must call this
    function, with a `cache_dir` that all of them see. Several runs may use one folder at the same time.

    Args:
        teachers (sequence of [`AudioFormerPreTrainedModel`]):
            From [`load_teachers`]. They are moved to the device of this process.
        codes (sequence of `np.ndarray` of shape `(num_codebooks, num_frames)`):
            Codes of each clip, from 0 to 1023, with at least the codebooks that the teachers read. Any random-access
            sequence. It is read twice, or once if the file exists.
        ids (sequence of `str`):
            A name for each clip.
        cache_dir (`str` or `Path`):
            Folder of the files, created if it does not exist.
        codec_fingerprint (`str`):
            Identifies the codec that made the codes.
        batch_size (`int`, *optional*, defaults to 16):
            Clips per forward pass. It affects the vectors by rounding only (less than 1e-5), so it is not in the name.

    Returns:
        `np.memmap` of shape `(num_clips, num_codebooks - 1, hidden_size)`: Vectors in float32, read-only, in the order
        of `codes` and `teachers`. A `.json` file next to the `.npy` file describes them.

    Raises:
        ValueError: If there is no teacher or no clip; if two teachers read one codebook or differ in size; if the
            numbers of ids and clips differ; if a clip lacks a codebook, or is a list of copies, whose vectors would
            differ; if `batch_size` is below 1; or if this process does not share `cache_dir` with the first one.
    """
    names, configs = [_name(teacher) for teacher in teachers], [teacher.config for teacher in teachers]
    codebooks = _check_codebooks(names, configs)
    hidden_size, *other_sizes = sorted({config.hidden_size for config in configs})
    if other_sizes:
        raise ValueError(f"Teachers must have one `hidden_size`, got {[hidden_size, *other_sizes]}.")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
    if not len(codes) or len(ids) != len(codes):
        raise ValueError(f"At least one clip, and as many ids as clips, are needed, got {len(ids)} and {len(codes)}.")
    state = PartialState()
    models = [_freeze(teacher).to(state.device) for teacher in teachers]
    # One process reads all codes for the name; otherwise eight processes would read them from one disk at once.
    key = _from_first_process(lambda: _key(models, _checked_clips(codes, ids, codebooks), codec_fingerprint))
    cache = VectorFile(Path(cache_dir), key, (len(codes), len(codebooks), hidden_size), CLIPS_PER_BLOCK)
    cache.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(cache.path.with_suffix(".lock")) if state.is_main_process else nullcontext():
        # One process looks for unfinished blocks: others may finish some before the last one has looked.
        blocks = _from_first_process(cache.unfinished_blocks)
        if blocks:
            examples = CodeExamples(codes, codebook=codebooks[0], positive_codebooks=codebooks)
            _fill(cache, blocks, models, examples, batch_size)
            state.wait_for_everyone()
        if state.is_main_process and not cache.path.exists():
            cache.finish({"codebooks": codebooks, "teachers": names, "codec_fingerprint": codec_fingerprint})
        state.wait_for_everyone()
    return np.load(cache.path, mmap_mode="r")


def _fill(
    cache: VectorFile,
    blocks: Sequence[tuple[int, int]],
    teachers: Sequence[AudioFormerModel],
    examples: CodeExamples,
    batch_size: int,
) -> None:
    """Compute this process's share of the blocks."""
    state, collate = PartialState(), DataCollatorForCodecClassification()
    if not cache.part.exists():
        raise ValueError(
            f"`cache_dir` must be a folder that all processes see, but process {state.process_index} does not see "
            f"what the first process wrote to {cache.folder}."
        )
    own_blocks = blocks[state.process_index :: state.num_processes]
    with tqdm(
        total=sum(stop - start for start, stop in own_blocks),
        desc="Computing the teachers' vectors",
        unit="clip",
        disable=not state.is_local_main_process or hides_bars(),
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
    """Hash everything that the vectors depend on, as a hexadecimal SHA-256."""
    digest = hashlib.sha256()

    def add(description: object, content: bytes = b"") -> None:
        # Lengths come first, so that different sequences of entries never have the same bytes.
        text = json.dumps([description, len(content)], sort_keys=True).encode()
        digest.update(len(text).to_bytes(8, "little") + text + content)

    for teacher in teachers:
        # `codebook` was called `codebooks` when the first files were written; they keep their names.
        settings = {field: getattr(teacher.config, field) for field in FORWARD_SETTINGS}
        add({"codebooks" if field == "codebook" else field: value for field, value in settings.items()})
        for name, weight in sorted(teacher.state_dict().items()):
            add([name, list(weight.shape)], weight.detach().cpu().contiguous().numpy().tobytes())
    add(codec_fingerprint)
    for clip_id, codes in clips:
        add([str(clip_id), list(codes.shape)], np.ascontiguousarray(codes, dtype="<i4").tobytes())
    return digest.hexdigest()


def _checked_clips(
    codes: Sequence[np.ndarray], ids: Sequence[str], codebooks: Sequence[int]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each clip's id and codes, in the codebooks that the teachers read."""
    for clip_id, clip in zip(ids, codes, strict=True):
        if isinstance(clip, list):
            raise ValueError(
                f"Clip {clip_id!r} is a list of copies, whose vectors differ: set `online_teachers` to compute them "
                "in every step."
            )
        if clip.ndim != 2 or len(clip) <= max(codebooks):
            raise ValueError(
                f"Clip {clip_id!r} must have codes of shape (num_codebooks, num_frames) with at least "
                f"{max(codebooks) + 1} codebooks, as the teachers read the codebooks {list(codebooks)}, got "
                f"{tuple(clip.shape)}. Encode it with more `num_codebooks`."
            )
        yield clip_id, clip[list(codebooks)]


def _from_first_process(compute: Callable[[], Result]) -> Result:
    """Run `compute()` on the first process only, and return its result on all processes."""
    return broadcast_object_list([compute() if PartialState().is_main_process else None])[0]


def _check_codebooks(
    names: Sequence[str], configs: Sequence[AudioFormerConfig], anchor: int | None = None
) -> list[int]:
    """Return the codebooks of the teachers after checking that they differ from each other and from the anchor's."""
    if not names:
        raise ValueError("At least one teacher is needed: a pre-trained model of another codebook than the anchor's.")
    taken = {} if anchor is None else {anchor: "the anchor"}
    for name, config in zip(names, configs, strict=True):
        if config.num_codebooks > 1:
            raise ValueError(
                f"Teacher {name} reads the codebooks {config.codebooks} together: a positive of FT2 is what a model "
                "of one codebook computes."
            )
        if config.codebook in taken:
            raise ValueError(
                f"Teacher {name} reads codebook {config.codebook} (C{config.codebook + 1}), which is that of "
                f"{taken[config.codebook]}. Its `codebook` must be another one than {sorted(taken)}."
            )
        taken[config.codebook] = f"teacher {name}"
    return [config.codebook for config in configs]


def _name(teacher: str | Path | AudioFormerPreTrainedModel) -> str:
    """Return what messages call a teacher: its folder or Hub id if known, else its class."""
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
    """Return the encoder of a teacher, without its head, in float32 and eval mode, without gradients."""
    if isinstance(teacher, str | Path):
        loaded: Any = AudioFormerModel.from_pretrained(teacher, dtype=torch.float32, output_loading_info=True)
        model, report = loaded
        if report["missing_keys"]:
            raise ValueError(
                f"Teacher {_name(teacher)} must hold every weight of the encoder, but lacks "
                f"{sorted(report['missing_keys'])[:5]}."
            )
    else:
        model = cast(AudioFormerModel, teacher.base_model).float()
    return model.eval().requires_grad_(False)
