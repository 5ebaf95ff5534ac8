"""Encoded clips as a data set for the Trainer."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.training.data_collator import BOA_TOKEN_ID, CODE_OFFSET, EOA_TOKEN_ID


def encode_waveforms(
    waveforms: Sequence[np.ndarray],
    extractor: AudioFormerFeatureExtractor,
    sampling_rate: int,
    batch_size: int = 16,
    description: str = "encoding",
) -> list[np.ndarray]:
    """Encode clips to the codes of the extractor's row.

    Args:
        waveforms (sequence of `np.ndarray` of shape `(samples,)`): Clips of any lengths.
        extractor (`AudioFormerFeatureExtractor`): With an int as `codebooks`.
        sampling_rate (`int`): Rate of the clips in Hz.
        batch_size (`int`, defaults to 16): Clips a call.
        description (`str`): Text of the progress bar.

    Returns:
        list of `np.ndarray` of shape `(frames,)`, uint16: Codes without special ids, one array a clip.
    """
    codes = []
    with tqdm(total=len(waveforms), desc=description, unit="clip") as progress:
        for start in range(0, len(waveforms), batch_size):
            batch = list(waveforms[start : start + batch_size])
            for ids in extractor(batch, sampling_rate=sampling_rate, padding=False)["input_ids"]:
                codes.append((np.asarray(ids)[1:-1] - CODE_OFFSET).astype(np.uint16))
            progress.update(len(batch))
    return codes


class CodeExamples(Dataset[dict[str, torch.Tensor]]):
    """Sequences `[BOA, codes + 3, EOA]`, with a class each where labels are given.

    Draws (which copy, which crop) come from torch's global generator, which the Trainer seeds.

    Args:
        clips (sequence of lists of `np.ndarray` of shape `(frames,)`): The copies of each clip: one array for a clip
            as it is, several where changed copies were encoded too; an item is one of them at random.
        labels (sequence of `int`, *optional*): Class of each clip.
        crop_frames (`int`, *optional*): Longest stretch of codes in an item; longer clips are cropped at random.
    """

    def __init__(
        self,
        clips: Sequence[Sequence[np.ndarray]],
        labels: Sequence[int] | None = None,
        crop_frames: int | None = None,
    ) -> None:
        if labels is not None and len(labels) != len(clips):
            raise ValueError(f"as many labels as clips are needed, got {len(labels)} labels for {len(clips)} clips")
        if not all(len(copies) for copies in clips):
            raise ValueError("every clip needs at least one array of codes")
        self.clips, self.labels, self.crop_frames = clips, labels, crop_frames

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        copies = self.clips[index]
        codes = copies[int(torch.randint(len(copies), ()))] if len(copies) > 1 else copies[0]
        if self.crop_frames is not None and len(codes) > self.crop_frames:
            start = int(torch.randint(len(codes) - self.crop_frames + 1, ()))
            codes = codes[start : start + self.crop_frames]
        ids = torch.full((len(codes) + 2,), BOA_TOKEN_ID)
        ids[1:-1] = torch.from_numpy(codes.astype(np.int64)) + CODE_OFFSET
        ids[-1] = EOA_TOKEN_ID
        item = {"input_ids": ids}
        if self.labels is not None:
            item["labels"] = torch.tensor(self.labels[index])
        return item
