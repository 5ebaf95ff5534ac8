"""Log-mel spectrograms of pre-emphasized waveforms, as PaSST and MaskSpec read them, in float32 torch."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from .framewise import compute_frames
from .kaldi_filterbank import mel_triangles
from .matrix_products import full_precision

OFFSET = 1e-5
"""Added to the energies, so that silence has a logarithm."""

SHIFT, SCALE = 4.5, 5.0
"""`(x + SHIFT) / SCALE` brings the logarithms near to 0 and 1, before any statistics of the data."""

PREEMPHASIS = 0.97
"""How much of the sample before is subtracted from each sample."""


class EmphasizedMel(nn.Module):
    """
    Waveforms to the logarithms of mel energies.

    The whole waveform is emphasized (`x[n + 1] - 0.97 * x[n]`, one sample fewer). Frames are centred: the first one on
    the first sample, with the waveform mirrored at its ends. A symmetric Hann window weights them, zeros extend them
    to a power of two, and triangles in Kaldi's mel scale sum the power spectrum.

    Args:
        num_mel_bins (`int`, defaults to 128): Number of triangles.
        sampling_rate (`int`, defaults to 32000): Rate of the waveforms in Hz.
        frame_length (`int`, defaults to 800): Number of samples under the window, an even number.
        hop_length (`int`, defaults to 320): Number of samples from one frame to the next.
        high_hz (`float`, *optional*): Upper edge of the last triangle; by default 1 kHz below half of the rate.
        lowpass_hz (`float`, *optional*): Energy above this frequency counts as none.
    """

    window: torch.Tensor
    mel_weights: torch.Tensor

    def __init__(
        self,
        num_mel_bins: int = 128,
        sampling_rate: int = 32_000,
        frame_length: int = 800,
        hop_length: int = 320,
        high_hz: float | None = None,
        lowpass_hz: float | None = None,
    ) -> None:
        super().__init__()
        self.frame_length, self.hop_length = frame_length, hop_length
        self.sampling_rate, self.lowpass_hz = sampling_rate, lowpass_hz
        self.fft_length = 1 << (frame_length - 1).bit_length()
        self.mel_range = (0.0, sampling_rate / 2 - 1000 if high_hz is None else high_hz)
        window = torch.hann_window(frame_length, periodic=False, dtype=torch.float32)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("mel_weights", self.triangles(num_mel_bins, *self.mel_range), persistent=False)

    def triangles(self, num_mel_bins: int, low_hz: float, high_hz: float) -> torch.Tensor:
        """Weights of the triangles between two frequencies in Hz, `(fft_length // 2 + 1, num_mel_bins)`."""
        weights = mel_triangles(num_mel_bins, self.fft_length, self.sampling_rate, low_hz, high_hz)
        if self.lowpass_hz is not None:
            frequencies = self.sampling_rate / self.fft_length * torch.arange(len(weights))
            weights[frequencies > self.lowpass_hz] = 0.0
        return weights

    def num_frames(self, num_samples: int) -> int:
        """Number of frames in a clip."""
        return 1 + (num_samples - 1) // self.hop_length

    @property
    def min_samples(self) -> int:
        """Number of samples of the shortest clip that can be mirrored at its ends."""
        return self.frame_length // 2 + 2

    def frame_energies(self, frames: torch.Tensor, mel_weights: torch.Tensor | None = None) -> torch.Tensor:
        """
        Log energies of frames.

        Args:
            frames (`torch.FloatTensor` of shape `(..., frame_length)`): Emphasized samples.
            mel_weights (`torch.FloatTensor`, *optional*): Triangles in place of those of the module.

        Returns:
            `torch.FloatTensor` of shape `(..., num_mel_bins)`; silence is -1.4026.
        """
        spectrum = torch.fft.rfft(frames * self.window, n=self.fft_length)
        power = torch.view_as_real(spectrum).square().sum(dim=-1)
        mel_weights = self.mel_weights if mel_weights is None else mel_weights
        return ((power @ mel_weights + OFFSET).log() + SHIFT) / SCALE

    def mirrored(self, waveforms: torch.Tensor) -> torch.Tensor:
        """
        Emphasize waveforms, and mirror them at their ends.

        Args:
            waveforms (`torch.FloatTensor` of shape `(batch_size, num_samples)`): At least `min_samples`.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_samples - 1 + frame_length)`.
        """
        emphasized = waveforms[:, 1:] - PREEMPHASIS * waveforms[:, :-1]
        half = self.frame_length // 2
        return nn.functional.pad(emphasized, (half, half), mode="reflect")

    def frames(self, waveforms: torch.Tensor) -> torch.Tensor:
        """
        Cut waveforms into emphasized frames.

        Args:
            waveforms (`torch.FloatTensor` of shape `(batch_size, num_samples)`): At least `min_samples`.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_frames, frame_length)`.
        """
        return self.mirrored(waveforms).unfold(-1, self.frame_length, self.hop_length)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """
        Log energies of clips of one length.

        Args:
            waveforms (`torch.FloatTensor` of shape `(batch_size, num_samples)`): Full scale at 1, at least
                `min_samples`.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_frames, num_mel_bins)`.
        """
        return self.frame_energies(self.frames(waveforms))

    @torch.no_grad()
    def batch(
        self, waveforms: Sequence[torch.Tensor], mel_edges: Sequence[tuple[float, float]] | None = None
    ) -> list[torch.Tensor]:
        """
        Log energies of clips of any lengths, without padding them.

        Args:
            waveforms (sequence of `torch.FloatTensor` of shape `(num_samples,)`): Each of at least `min_samples`.
            mel_edges (sequence of pairs, *optional*): Lowest and highest edge of the triangles of each clip in Hz; by
                default `mel_range`.

        Returns:
            `list[torch.FloatTensor]`: Per clip an array of shape `(num_frames, num_mel_bins)`, on the device of the
            module.
        """
        device = self.window.device
        frames = [self.frames(wave.to(device)[None])[0] for wave in waveforms]
        with full_precision(device):
            num_bins = self.mel_weights.shape[1]
            if mel_edges is None:
                return compute_frames(frames, self.frame_energies, num_bins)
            energies = []
            for clip, edges in zip(frames, mel_edges, strict=True):
                weights = self.triangles(num_bins, *edges).to(device)
                energies += compute_frames([clip], partial(self.frame_energies, mel_weights=weights), num_bins)
            return energies
