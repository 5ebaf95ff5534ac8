"""Mel spectrograms in decibels, in float32 torch, on any device and for many clips at once."""

from collections.abc import Sequence

import torch
from torch import nn

from .framewise import compute_frames
from .matrix_products import full_precision

FLOOR = 1e-10
"""Power below it counts as this much, -100 dB, so that silence has a logarithm."""


class MelDecibels(nn.Module):
    """
    Waveforms to the decibels of mel bands.

    Frames are centred: the first one on the first sample, with the clip mirrored at its ends. A periodic Hann window
    weights them; triangles with straight sides in Hz, at equal distances in the HTK mel scale, sum the power spectrum.

    Args:
        num_mel_bins (`int`, defaults to 64): Number of triangles.
        sampling_rate (`int`, defaults to 16000): Rate of the waveforms in Hz.
        frame_length (`int`, defaults to 512): Number of samples per frame, and length of the Fourier transform.
        hop_length (`int`, defaults to 160): Number of samples from one frame to the next.
    """

    window: torch.Tensor
    mel_weights: torch.Tensor

    def __init__(
        self, num_mel_bins: int = 64, sampling_rate: int = 16_000, frame_length: int = 512, hop_length: int = 160
    ) -> None:
        super().__init__()
        self.frame_length, self.hop_length = frame_length, hop_length
        self.register_buffer("window", torch.hann_window(frame_length, dtype=torch.float32), persistent=False)
        weights = htk_triangles(num_mel_bins, frame_length, sampling_rate)
        self.register_buffer("mel_weights", weights, persistent=False)

    def num_frames(self, num_samples: int) -> int:
        """Number of frames in a clip."""
        return 1 + num_samples // self.hop_length

    def frame_decibels(self, frames: torch.Tensor) -> torch.Tensor:
        """
        Decibels of frames.

        Args:
            frames (`torch.FloatTensor` of shape `(..., frame_length)`): Samples, full scale at 1.

        Returns:
            `torch.FloatTensor` of shape `(..., num_mel_bins)`, at least -100.
        """
        spectrum = torch.fft.rfft(frames * self.window)
        power = torch.view_as_real(spectrum).square().sum(dim=-1)
        return 10.0 * (power @ self.mel_weights).clamp(min=FLOOR).log10()

    def frames(self, waveforms: torch.Tensor) -> torch.Tensor:
        """
        Cut waveforms into frames.

        Args:
            waveforms (`torch.FloatTensor` of shape `(..., num_samples)`): More than half a frame.

        Returns:
            `torch.FloatTensor` of shape `(..., num_frames, frame_length)`.
        """
        half = self.frame_length // 2
        # `pad` mirrors only arrays of two dimensions or more.
        mirrored = nn.functional.pad(waveforms[None], (half, half), mode="reflect")[0]
        return mirrored.unfold(-1, self.frame_length, self.hop_length)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """
        Decibels of clips of one length.

        Args:
            waveforms (`torch.FloatTensor` of shape `(batch_size, num_samples)`): Full scale at 1, more than half a
                frame.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_frames, num_mel_bins)`.
        """
        return self.frame_decibels(self.frames(waveforms))

    @torch.no_grad()
    def batch(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """
        Decibels of clips of any lengths, without padding them.

        Args:
            waveforms (sequence of `torch.FloatTensor` of shape `(num_samples,)`): Each of more than half a frame.

        Returns:
            `list[torch.FloatTensor]`: Per clip an array of shape `(num_frames, num_mel_bins)`, on the device of the
            module.
        """
        device = self.window.device
        frames = [self.frames(wave.to(device)) for wave in waveforms]
        with full_precision(device):
            return compute_frames(frames, self.frame_decibels, self.mel_weights.shape[1])


def htk_triangles(num_mel_bins: int, fft_length: int, sampling_rate: int) -> torch.Tensor:
    """
    Weights of triangles between 0 Hz and half of the sampling rate, 1 at their peaks.

    Args:
        num_mel_bins (`int`): Number of triangles.
        fft_length (`int`): Length of the Fourier transform.
        sampling_rate (`int`): Sampling rate in Hz.

    Returns:
        `torch.FloatTensor` of shape `(fft_length // 2 + 1, num_mel_bins)`.
    """
    frequencies = torch.linspace(0, sampling_rate // 2, fft_length // 2 + 1, dtype=torch.float64)
    highest = 2595.0 * torch.tensor(1.0 + sampling_rate / 2 / 700.0, dtype=torch.float64).log10().item()
    mel = torch.linspace(0.0, highest, num_mel_bins + 2, dtype=torch.float64)
    corners = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (frequencies[:, None] - left) / (centre - left)
    falling = (right - frequencies[:, None]) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0.0).float()
