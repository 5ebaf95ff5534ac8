"""Reconstruction losses of the small codec: multi-scale log-mel distance and scale-invariant SDR."""

from collections.abc import Sequence

import torch
from torch import nn


def mel_filter_bank(num_mel_bins: int, n_fft: int, sampling_rate: int) -> torch.Tensor:
    r"""
    Make triangular filters, evenly spaced on the mel scale `2595 log10(1 + f / 700)` from 0 Hz to half the
    sampling rate.

    Args:
        num_mel_bins (`int`):
            Number of filters.
        n_fft (`int`):
            Window length in samples.
        sampling_rate (`int`):
            In Hz.

    Returns:
        `torch.FloatTensor` of shape `(n_fft // 2 + 1, num_mel_bins)`. A filter narrower than the spacing of the
        spectrum's bins covers the two bins around its center.
    """
    nyquist = sampling_rate / 2
    highest_mel = 2595 * torch.log10(torch.tensor(1 + nyquist / 700, dtype=torch.float64))
    mels = torch.linspace(0, float(highest_mel), num_mel_bins + 2, dtype=torch.float64)
    edges = 700 * (10 ** (mels / 2595) - 1)
    spacing = sampling_rate / n_fft
    frequencies = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * spacing
    # At the low end mel filters are narrower than one bin. Without a minimum width they would be all zero.
    rise = (edges[1:-1] - edges[:-2]).clamp(min=spacing)
    fall = (edges[2:] - edges[1:-1]).clamp(min=spacing)
    distance = frequencies.unsqueeze(-1) - edges[1:-1]
    filters = torch.minimum(1 + distance / rise, 1 - distance / fall).clamp(min=0)
    return filters.to(torch.float32)


class MultiScaleLogMel(nn.Module):
    r"""
    Mean absolute difference between the log-mel spectrograms of two waveforms, at several window lengths.

    Args:
        sampling_rate (`int`, *optional*, defaults to 24000):
            In Hz.
        window_lengths (`Sequence[int]`, *optional*, defaults to `(256, 512, 1024, 2048)`):
            Hann windows in samples; the hop is a quarter of the window.
        num_mel_bins (`Sequence[int]`, *optional*, defaults to `(16, 32, 64, 80)`):
            Number of filters for each window length.
        floor (`float`, *optional*, defaults to 1e-3):
            Added to the mel magnitudes before the natural logarithm, so that silence stays finite.

    Raises:
        ValueError: If the two sequences differ in length.
    """

    def __init__(
        self,
        sampling_rate: int = 24000,
        window_lengths: Sequence[int] = (256, 512, 1024, 2048),
        num_mel_bins: Sequence[int] = (16, 32, 64, 80),
        floor: float = 1e-3,
    ) -> None:
        super().__init__()
        if len(window_lengths) != len(num_mel_bins):
            raise ValueError(
                f"`window_lengths` and `num_mel_bins` must have the same length, got {len(window_lengths)} and "
                f"{len(num_mel_bins)}."
            )
        self.window_lengths = tuple(window_lengths)
        self.floor = floor
        for length, bins in zip(window_lengths, num_mel_bins, strict=True):
            self.register_buffer(f"window_{length}", torch.hann_window(length), persistent=False)
            self.register_buffer(f"filters_{length}", mel_filter_bank(bins, length, sampling_rate), persistent=False)

    def spectrogram(self, waveform: torch.Tensor, window_length: int) -> torch.Tensor:
        r"""
        Compute the log-mel spectrogram for one window length.

        Args:
            waveform (`torch.FloatTensor` of shape `(batch_size, num_samples)`):
                Audio in [-1, 1].
            window_length (`int`):
                One of `window_lengths`.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_windows, num_mel_bins)`.
        """
        # Zero padding works for clips of any length. Reflection fails for those shorter than half a window.
        spectrum = torch.stft(
            waveform,
            window_length,
            hop_length=window_length // 4,
            window=getattr(self, f"window_{window_length}"),
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        magnitude = spectrum.abs().transpose(1, 2) * (2.0 / window_length)
        return torch.log(magnitude @ getattr(self, f"filters_{window_length}") + self.floor)

    def forward(self, waveform: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        r"""
        Args:
            waveform (`torch.FloatTensor` of shape `(batch_size, num_samples)`):
                Reconstruction.
            reference (`torch.FloatTensor` of shape `(batch_size, num_samples)`):
                Original.

        Returns:
            `torch.FloatTensor`: Mean absolute difference in nepers, averaged over the window lengths, a scalar.
        """
        distances = []
        for length in self.window_lengths:
            with torch.no_grad():
                target = self.spectrogram(reference, length)
            distances.append((self.spectrogram(waveform, length) - target).abs().mean())
        return torch.stack(distances).mean()


def scale_invariant_sdr(waveform: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    r"""
    Compute the scale-invariant signal-to-distortion ratio (Le Roux et al., arXiv 1811.02508). Higher is better.

    Args:
        waveform (`torch.FloatTensor` of shape `(..., num_samples)`):
            Reconstruction.
        reference (`torch.FloatTensor` of shape `(..., num_samples)`):
            Original, not silent.

    Returns:
        `torch.FloatTensor` of shape `(...)`: Ratios in dB.
    """
    waveform = waveform - waveform.mean(dim=-1, keepdim=True)
    reference = reference - reference.mean(dim=-1, keepdim=True)
    tiny = torch.finfo(waveform.dtype).eps
    scale = (waveform * reference).sum(-1, keepdim=True) / (reference.pow(2).sum(-1, keepdim=True) + tiny)
    projection = scale * reference
    noise = waveform - projection
    return 10 * torch.log10((projection.pow(2).sum(-1) + tiny) / (noise.pow(2).sum(-1) + tiny))
