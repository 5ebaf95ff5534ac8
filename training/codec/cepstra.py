"""What the encoder of the small codec learns to hear: cepstra of windows that end where a code ends."""

import numpy as np
import torch
from scipy.fft import dct
from torch import nn

from .losses import mel_filter_bank

WINDOWS = ((256, 24, 10, 2), (512, 40, 20, 1), (1024, 64, 32, 1), (2048, 80, 32, 1))
"""Of each kind of window: length in samples, mel filters, cepstral coefficients, and number of windows per code."""


class CepstralTargets(nn.Module):
    r"""
    Mel cepstra at several window lengths, each coefficient with zero mean and unit variance.

    Neighbouring bins of log-mel spectra rise and fall together. An encoder that learns them as they are puts level and
    slope into its vectors, and little else. Cepstral coefficients are nearly uncorrelated, and at unit variance the
    fine ones count as much as the coarse ones.

    No window reaches beyond the end of its code, since the encoder is causal.

    Args:
        sampling_rate (`int`):
            In Hz.
        hop_length (`int`):
            Samples per code.
        floor (`float`, *optional*, defaults to 1e-4):
            Added to the mel magnitudes before the logarithm, so that silence stays finite.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, sampling_rate: int, hop_length: int, floor: float = 1e-4) -> None:
        super().__init__()
        self.hop_length, self.floor = hop_length, floor
        for length, num_filters, num_coefficients, _ in WINDOWS:
            transform = dct(np.eye(num_filters), axis=0, norm="ortho")[:num_coefficients].T
            projection = torch.from_numpy(transform.astype(np.float32).copy())
            self.register_buffer(f"window_{length}", torch.hann_window(length), persistent=False)
            filters = mel_filter_bank(num_filters, length, sampling_rate)
            self.register_buffer(f"filters_{length}", filters, persistent=False)
            self.register_buffer(f"projection_{length}", projection, persistent=False)
        self.register_buffer("mean", torch.zeros(self.size))
        self.register_buffer("deviation", torch.ones(self.size))

    @property
    def size(self) -> int:
        """Number of values per code."""
        return sum(num_coefficients * count for _, _, num_coefficients, count in WINDOWS)

    def _cepstra(self, audio: torch.Tensor) -> torch.Tensor:
        num_frames = audio.shape[-1] // self.hop_length
        parts = []
        for length, _, num_coefficients, count in WINDOWS:
            hop = self.hop_length // count
            # The first windows reach back before the crop, into silence.
            padded = nn.functional.pad(audio, (max(0, length - hop), 0))
            window = getattr(self, f"window_{length}")
            spectrum = torch.stft(padded, length, hop, window=window, center=False, return_complex=True)
            magnitude = spectrum.abs().transpose(1, 2) * (2.0 / length)
            log_mel = torch.log(magnitude @ getattr(self, f"filters_{length}") + self.floor)
            cepstra = log_mel @ getattr(self, f"projection_{length}")
            parts.append(cepstra[:, : num_frames * count].reshape(len(audio), num_frames, count * num_coefficients))
        return torch.cat(parts, dim=-1)

    @torch.no_grad()
    def standardize(self, audio: torch.Tensor) -> None:
        r"""
        Take the means and standard deviations from audio.

        Args:
            audio (`torch.FloatTensor` of shape `(batch_size, num_samples)`):
                Crops like those of training, a few dozen.
        """
        cepstra = self._cepstra(audio).flatten(0, 1)
        self.mean.copy_(cepstra.mean(dim=0))
        self.deviation.copy_(cepstra.std(dim=0).clamp(min=1e-3))

    @torch.no_grad()
    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        r"""
        Args:
            audio (`torch.FloatTensor` of shape `(batch_size, num_samples)`):
                Crops whose length is a multiple of `hop_length`.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_frames, size)`: Standardized cepstra.
        """
        return (self._cepstra(audio) - self.mean) / self.deviation
