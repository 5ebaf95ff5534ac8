"""Log-mel filterbank energies as Kaldi computes them, in float32 torch, on any device and for many clips at once."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from .framewise import compute_frames
from .matrix_products import full_precision

FULL_SCALE = 2.0**15
"""Kaldi reads samples as 16-bit integers; waveforms in [-1, 1] are multiplied by this."""

FLOOR = torch.finfo(torch.float32).eps
"""Energies below it count as this much, so that silence has a logarithm."""


class KaldiFilterbank(nn.Module):
    """
    Waveforms to the logarithms of mel filterbank energies.

    Frames do not reach beyond the clip: `1 + (num_samples - frame_length) // hop_length` of them. In each, the mean is
    removed, the samples are emphasized (`s[i] - 0.97 * s[i - 1]`, the first with itself), weighted by a Povey window
    (a symmetric Hann window to the power of 0.85), and padded by zeros to a power of two. Triangles in Kaldi's mel
    scale, `1127 * ln(1 + f / 700)`, sum the power spectrum. There is no dither.

    Args:
        num_mel_bins (`int`, defaults to 128): Number of triangles.
        sampling_rate (`int`, defaults to 16000): Rate of the waveforms in Hz.
        frame_length (`int`, defaults to 400): Number of samples per frame.
        hop_length (`int`, defaults to 160): Number of samples from one frame to the next.
        low_hz (`float`, defaults to 20.0): Lower edge of the first triangle; the last one ends at half of the rate.
        preemphasis (`float`, defaults to 0.97): How much of the sample before is subtracted.
    """

    window: torch.Tensor
    mel_weights: torch.Tensor

    def __init__(
        self,
        num_mel_bins: int = 128,
        sampling_rate: int = 16_000,
        frame_length: int = 400,
        hop_length: int = 160,
        low_hz: float = 20.0,
        preemphasis: float = 0.97,
    ) -> None:
        super().__init__()
        self.frame_length, self.hop_length, self.preemphasis = frame_length, hop_length, preemphasis
        self.fft_length = 1 << (frame_length - 1).bit_length()
        window = torch.hann_window(frame_length, periodic=False, dtype=torch.float32).pow(0.85)
        weights = mel_triangles(num_mel_bins, self.fft_length, sampling_rate, low_hz)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("mel_weights", weights, persistent=False)

    def num_frames(self, num_samples: int) -> int:
        """Number of whole frames in a clip; 0 if it is shorter than one."""
        if num_samples < self.frame_length:
            return 0
        return 1 + (num_samples - self.frame_length) // self.hop_length

    def frame_energies(self, frames: torch.Tensor) -> torch.Tensor:
        """
        Log energies of frames.

        Args:
            frames (`torch.FloatTensor` of shape `(..., frame_length)`): Samples, full scale at 1.

        Returns:
            `torch.FloatTensor` of shape `(..., num_mel_bins)`.
        """
        frames = frames * FULL_SCALE
        frames = frames - frames.mean(dim=-1, keepdim=True)
        before = torch.cat((frames[..., :1], frames[..., :-1]), dim=-1)
        spectrum = torch.fft.rfft((frames - self.preemphasis * before) * self.window, n=self.fft_length)
        power = torch.view_as_real(spectrum).square().sum(dim=-1)
        return (power @ self.mel_weights).clamp(min=FLOOR).log()

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """
        Log energies of clips of one length.

        Args:
            waveforms (`torch.FloatTensor` of shape `(batch_size, num_samples)`): Full scale at 1, at least one frame.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_frames, num_mel_bins)`.
        """
        return self.frame_energies(waveforms.unfold(-1, self.frame_length, self.hop_length))

    @torch.no_grad()
    def batch(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """
        Log energies of clips of any lengths, without padding them.

        Args:
            waveforms (sequence of `torch.FloatTensor` of shape `(num_samples,)`): Each with at least one frame.

        Returns:
            `list[torch.FloatTensor]`: Per clip an array of shape `(num_frames, num_mel_bins)`, on the device of the
            filterbank.
        """
        device = self.window.device
        frames = [wave.to(device).unfold(-1, self.frame_length, self.hop_length) for wave in waveforms]
        with full_precision(device):
            return compute_frames(frames, self.frame_energies, self.mel_weights.shape[1])


def mel_triangles(
    num_mel_bins: int, fft_length: int, sampling_rate: int, low_hz: float, high_hz: float | None = None
) -> torch.Tensor:
    """
    Weights of triangles that have straight sides in Kaldi's mel scale and are 1 at their peaks.

    They are computed in float32, as everywhere where models were trained on them. A triangle between two frequencies
    of the Fourier transform is empty, as is the fourth of 128.

    Args:
        num_mel_bins (`int`): Number of triangles.
        fft_length (`int`): Length of the Fourier transform.
        sampling_rate (`int`): Sampling rate in Hz.
        low_hz (`float`): Lower edge of the first triangle.
        high_hz (`float`, *optional*): Upper edge of the last one; by default half of the rate.

    Returns:
        `torch.FloatTensor` of shape `(fft_length // 2 + 1, num_mel_bins)`.
    """

    def scalar_to_mel(frequency: float) -> float:
        return 1127.0 * math.log(1.0 + frequency / 700.0)

    low, high = scalar_to_mel(low_hz), scalar_to_mel(sampling_rate / 2 if high_hz is None else high_hz)
    width = (high - low) / (num_mel_bins + 1)
    numbers = torch.arange(num_mel_bins, dtype=torch.float32)[None]
    left, centre, right = (low + (numbers + step) * width for step in (0.0, 1.0, 2.0))
    # The last of these, half of the sampling rate, is the right edge of the last triangle: its weight is zero.
    frequencies = sampling_rate / fft_length * torch.arange(fft_length // 2 + 1, dtype=torch.float32)
    mel = 1127.0 * (1.0 + frequencies / 700.0).log()[:, None]
    rising, falling = (mel - left) / (centre - left), (right - mel) / (right - centre)
    weights = torch.minimum(rising, falling).clamp(min=0.0)
    weights[-1] = 0.0
    return weights
