"""Evaluation of a codec: use of its entries, repeated codes, and reconstruction from one to all codebooks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import EncodecModel

from audioformer.data.progress import hides_bars

from .losses import MultiScaleLogMel, scale_invariant_sdr


@torch.no_grad()
def encode_clips(codec: EncodecModel, waveforms: Sequence[np.ndarray], progress: bool = False) -> list[np.ndarray]:
    r"""
    Encode each clip on its own with `EncodecModel.encode`, at the highest bandwidth of the codec.

    Args:
        codec ([`~transformers.EncodecModel`]):
            A codec that is not chunked.
        waveforms (`Sequence[np.ndarray]`):
            Mono audio of shape `(num_samples,)` at the codec's sampling rate.
        progress (`bool`, *optional*, defaults to `False`):
            Whether to show a progress bar.

    Returns:
        `list[np.ndarray]`: One int64 array of shape `(num_codebooks, num_frames)` per clip.
    """
    bandwidth = codec.config.target_bandwidths[-1]
    codes = []
    for waveform in tqdm(waveforms, desc="Encoding", disable=not progress or hides_bars()):
        output: Any = codec.encode(torch.from_numpy(waveform)[None, None], bandwidth=bandwidth)
        codes.append(output.audio_codes[0, 0].numpy())
    return codes


def code_statistics(codes: Sequence[np.ndarray], codebook_size: int) -> dict[str, list[float]]:
    r"""
    Measure how the entries of each codebook are used.

    Args:
        codes (`Sequence[np.ndarray]`):
            One array of shape `(num_codebooks, num_frames)` per clip.
        codebook_size (`int`):
            Entries per codebook.

    Returns:
        `dict[str, list[float]]`: For each codebook, `entries_used`, `repeat_rate` (share of frames, except the first
        of each clip, with the code of the previous frame) and `perplexity` (exponential of the entropy of the codes).
    """
    everything = np.concatenate(codes, axis=1)
    repeats = np.concatenate([clip[:, 1:] == clip[:, :-1] for clip in codes], axis=1)
    counts = np.stack([np.bincount(codebook, minlength=codebook_size) for codebook in everything])
    shares = counts / counts.sum(axis=1, keepdims=True)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=1)
    return {
        "entries_used": (counts > 0).sum(axis=1).tolist(),
        "repeat_rate": repeats.mean(axis=1).round(4).tolist() if repeats.shape[1] else [0.0] * len(counts),
        "perplexity": np.exp(entropy).round(1).tolist(),
    }


@torch.no_grad()
def reconstruction_quality(
    codec: EncodecModel, waveforms: Sequence[np.ndarray], codes: Sequence[np.ndarray], progress: bool = False
) -> dict[str, list[float]]:
    r"""
    Decode clips from one to all codebooks and compare them with the originals.

    Args:
        codec ([`~transformers.EncodecModel`]):
            The codec that made `codes`.
        waveforms (`Sequence[np.ndarray]`):
            Mono audio of shape `(num_samples,)`. Silent clips are skipped.
        codes (`Sequence[np.ndarray]`):
            Codes of the clips, each of shape `(num_codebooks, num_frames)`.
        progress (`bool`, *optional*, defaults to `False`):
            Whether to show a progress bar.

    Returns:
        `dict[str, list[float]]`: `log_mel_l1` (nepers, mean over clips, lower is better) and `si_sdr` (dB, median over
        clips, higher is better), each a list over the number of decoded codebooks, from C1 alone to all.
    """
    log_mel = MultiScaleLogMel(codec.config.sampling_rate)
    layers: Any = codec.quantizer.layers
    num_codebooks = codec.config.num_quantizers
    distances: list[list[float]] = [[] for _ in range(num_codebooks)]
    ratios: list[list[float]] = [[] for _ in range(num_codebooks)]
    for waveform, clip_codes in zip(
        tqdm(waveforms, desc="Decoding", disable=not progress or hides_bars()), codes, strict=True
    ):
        reference = torch.from_numpy(waveform)[None]
        if not reference.any():
            continue
        # One pass of the decoder: the examples of the batch differ in the number of codebooks that are summed.
        sums: list[torch.Tensor] = []
        total: Any = 0
        for codebook, layer in enumerate(layers):
            total = total + layer.decode(torch.from_numpy(clip_codes[codebook])[None])
            sums.append(total)
        decoded = codec.decoder(torch.cat(sums))[:, 0, : reference.shape[-1]]
        for index in range(num_codebooks):
            distances[index].append(float(log_mel(decoded[index : index + 1], reference)))
            ratios[index].append(float(scale_invariant_sdr(decoded[index], reference[0])))
    return {
        "log_mel_l1": [round(float(np.mean(values)), 4) if values else float("nan") for values in distances],
        "si_sdr": [round(float(np.median(values)), 2) if values else float("nan") for values in ratios],
    }


def evaluate_codec(
    codec: EncodecModel, waveforms: Sequence[np.ndarray], max_decoded_clips: int = 64, progress: bool = False
) -> dict[str, Any]:
    r"""
    Encode all clips, decode some of them, and measure both.

    Args:
        codec ([`~transformers.EncodecModel`]):
            A codec that is not chunked. It is put into eval mode.
        waveforms (`Sequence[np.ndarray]`):
            Mono audio of shape `(num_samples,)` at the codec's sampling rate. All of it is encoded.
        max_decoded_clips (`int`, *optional*, defaults to 64):
            Reconstruction, the slow part, is measured on at most this many clips, evenly spaced.
        progress (`bool`, *optional*, defaults to `False`):
            Whether to show progress bars.

    Returns:
        `dict`: The results of [`code_statistics`] and [`reconstruction_quality`], and `num_clips`, `num_frames` and
        `num_decoded_clips`.
    """
    codec.eval()
    codes = encode_clips(codec, waveforms, progress)
    chosen = np.unique(np.linspace(0, len(waveforms) - 1, min(max_decoded_clips, len(waveforms))).round().astype(int))
    quality = reconstruction_quality(codec, [waveforms[i] for i in chosen], [codes[i] for i in chosen], progress)
    return {
        "num_clips": len(codes),
        "num_frames": int(sum(clip.shape[1] for clip in codes)),
        **code_statistics(codes, codec.config.codebook_size),
        "num_decoded_clips": len(chosen),
        **quality,
    }
