"""EnCodec's encoder and residual quantizer for inference: folded weight norm, time segments, micro-batches.

The convolutions before the LSTM are causal and depend on less than two frames of the past, so a clip can be cut into
segments that overlap by two frames; the LSTM and the last convolution carry their state from one segment to the next.
Memory then depends on the sizes of segment and micro-batch, not on the length or the number of clips.

A clip has the same codes alone and in any batch: on a CPU, rows of a product do not depend on how many others there
are (`matrix_products`), and each clip is convolved alone; on a GPU all shapes are fixed, and what is missing is zeros.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecConv1d, EncodecLSTM, EncodecResnetBlock

from .encodec_lstm import EncodecClipLSTM
from .matrix_products import add_product, full_precision
from .residual_quantizer import ResidualQuantizer


def _ceil_div(length: int, divisor: int) -> int:
    return -(-length // divisor)


# Large new tensors cost a CPU more time in page faults than in arithmetic, so what follows a convolution is done in
# place, and in tiles of so many elements, whose copies stay in the cache.
TILE_ELEMENTS = 2**19


def _tiles(hidden_states: torch.Tensor, min_steps: int = 1) -> Sequence[torch.Tensor]:
    """Views of `hidden_states`, (batch_size, num_steps, channels), along its steps; on a GPU a single one."""
    if hidden_states.device.type != "cpu":
        return [hidden_states]
    return hidden_states.split(max(min_steps, TILE_ELEMENTS // hidden_states.shape[2]), dim=1)


def _elu(hidden_states: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """ELU, written to `out` (which may be `hidden_states`), by default to a new tensor."""
    # On a CPU torch computes expm1 without vectorization, in twice the time; the last bit does not matter here.
    if hidden_states.device.type != "cpu":
        return functional.elu(hidden_states, inplace=out is not None)
    negative = hidden_states.clamp(max=0).exp_().sub_(1)
    return torch.maximum(hidden_states, negative, out=negative if out is None else out)


def codebook_entries(model: EncodecModel, codebook: int) -> torch.Tensor:
    """Entries of one codebook of a codec, `(codebook_size, codebook_dim)`."""
    return model.get_buffer(f"quantizer.layers.{codebook}.codebook.embed")


class FoldedConv1d(nn.Module):
    """One causal convolution of EnCodec as a sum of matrix products, with its weight norm multiplied out once.

    With channels last, `stride` consecutive steps are adjacent in memory, so that the convolution is one product per
    `stride` taps of its kernel, without any copy.

    Args:
        source (`EncodecConv1d`): The convolution to copy; it is not changed.
    """

    def __init__(self, source: EncodecConv1d):
        super().__init__()
        conv = source.conv
        self.in_channels, self.stride, self.dilation = conv.in_channels, conv.stride[0], conv.dilation[0]
        self.padding = (conv.kernel_size[0] - 1) * self.dilation + 1 - self.stride
        num_products = conv.kernel_size[0] // self.stride
        # (out, in, taps) -> (num_products, stride * in, out)
        weight = conv.weight.detach().float().permute(2, 1, 0).reshape(num_products, -1, conv.out_channels)
        self.weight = nn.Buffer(weight.contiguous())
        assert conv.bias is not None  # `EncodecConv1d` never turns it off.
        self.bias = nn.Buffer(conv.bias.detach().float().clone())
        self.offsets = [(num_products - 1 - i) * self.dilation for i in range(num_products)]

    def forward(
        self, hidden_states: torch.Tensor, lengths: list[int], left: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Convolve `hidden_states`.

        Args:
            hidden_states (`torch.Tensor` of shape `(batch_size, num_steps, in_channels)`): Inputs; `num_steps` is a
                multiple of the stride.
            lengths (`list[int]`): Number of valid steps per clip; what follows may be overwritten.
            left (`torch.Tensor` of shape `(batch_size, padding, in_channels)`, *optional*): The preceding steps; by
                default a reflection of the beginning.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_steps / stride, out_channels)`.
        """
        if left is None:
            if self.padding:
                self._extend(hidden_states, lengths)
            left = hidden_states[:, 1 : self.padding + 1].flip(1)
        batch_size, time, channels = hidden_states.shape
        if channels == 1:
            patches = torch.cat([left, hidden_states], dim=1).unfold(1, len(self.offsets), 1)[:, :, 0]
            if patches[..., 0].numel() == 1:
                # A single row would be rounded differently from one among others.
                return functional.linear(patches.expand(-1, 2, -1), self.weight[:, 0].t(), self.bias)[:, :1]
            return functional.linear(patches, self.weight[:, 0].t(), self.bias)
        steps = time // self.stride
        blocks = hidden_states.reshape(batch_size, steps, self.stride * channels)
        output = self.bias.expand(batch_size, steps, -1).clone(memory_format=torch.contiguous_format)
        for offset, weight in zip(self.offsets, self.weight, strict=True):
            if steps > offset:
                add_product(output[:, offset:], blocks[:, : steps - offset], weight)
            if offset:
                before = left.reshape(batch_size, -1, self.stride * channels)
                before = before[:, before.shape[1] - offset :][:, :steps]
                add_product(output[:, :offset], before, weight)
        return output

    def _extend(self, hidden_states: torch.Tensor, lengths: list[int]) -> None:
        """Continue each clip beyond its own end, in place, as `EncodecConv1d` would pad it alone.

        `EncodecConv1d._pad1d` reflects on both sides. A clip that is not longer than the left padding is first
        extended by zeros, which then also replace the reflection on the right.
        """
        for clip, length in zip(hidden_states, lengths, strict=True):
            end = _ceil_div(length, self.stride) * self.stride
            if length <= self.padding:
                clip[length : max(end, self.padding + 1)] = 0
            elif end > length:
                clip[length:end] = clip[2 * length - 1 - end : length - 1].flip(0)


class FoldedResnetBlock(nn.Module):
    """One residual block of EnCodec's encoder.

    Args:
        source (`EncodecResnetBlock`): The block to copy; it is not changed.
    """

    def __init__(self, source: EncodecResnetBlock):
        super().__init__()
        convolutions = [FoldedConv1d(layer) for layer in source.block if isinstance(layer, EncodecConv1d)]
        self.convolutions = nn.ModuleList(convolutions)
        self.paddings = [convolution.padding for convolution in convolutions]
        self.shortcut = FoldedConv1d(source.shortcut) if isinstance(source.shortcut, EncodecConv1d) else None

    def forward(self, hidden_states: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        """Apply the block to `hidden_states`, in place.

        Args:
            hidden_states (`torch.Tensor` of shape `(batch_size, num_steps, channels)`): Inputs, overwritten.
            lengths (`list[int]`): Number of valid steps per clip.

        Returns:
            `torch.Tensor`: `hidden_states`.
        """
        # What the steps before a tile were to each convolution; the first tile reflects the beginning.
        lefts: list[torch.Tensor | None] = [None] * len(self.convolutions)
        for tile in _tiles(hidden_states, min_steps=max(self.paddings) + 1):
            residual = tile if self.shortcut is None else self.shortcut(tile, lengths)
            states = _elu(tile)
            for i, (convolution, padding) in enumerate(zip(self.convolutions, self.paddings, strict=True)):
                inputs = states if i == 0 else _elu(states, out=states)
                states = convolution(inputs, lengths, lefts[i])
                lefts[i] = inputs[:, inputs.shape[1] - padding :]
            torch.add(states, residual, out=tile)
        return hidden_states


class FoldedEncodecEncoder(nn.Module):
    """Encoder and quantizer of a causal, unchunked `EncodecModel`, arranged for speed and bounded memory.

    Codes equal those of `EncodecModel.encode` on each clip alone, except where two entries tie up to the rounding of
    the vectors that are quantized; the quantizer itself does not round.

    Args:
        model (`EncodecModel`): The codec, already checked by `check_codec`. It is copied, not changed.
        num_codebooks (`int`): Number of codebooks to search, starting with the first.
        device (`torch.device` or `str`, *optional*, defaults to `"cpu"`): Device to encode on.
    """

    def __init__(self, model: EncodecModel, num_codebooks: int, device: torch.device | str = "cpu"):
        super().__init__()
        layers = list(model.encoder.layers)
        position, source_lstm = next(
            (i, layer.lstm) for i, layer in enumerate(layers) if isinstance(layer, EncodecLSTM)
        )
        self.front = nn.ModuleList(self._fold(layer) for layer in layers[:position])
        self.lstm = EncodecClipLSTM(source_lstm)
        last = layers[-1]
        assert isinstance(last, EncodecConv1d)  # The encoder always ends with a convolution.
        self.last = FoldedConv1d(last)
        embeddings = [codebook_entries(model, codebook).detach().float() for codebook in range(num_codebooks)]
        self.quantizer = ResidualQuantizer(torch.stack(embeddings))

        self.hop_length = model.config.hop_length
        self.context_frames = self._count_context_frames()
        self.to(device)
        on_cpu = torch.device(device).type == "cpu"
        # The activations of about two seconds fit into the cache of a core.
        self.segment_frames = 150
        # Segments per convolution: only on a GPU more than one, and then always as many.
        self.micro_batch_size = 1 if on_cpu else 16
        # Rows of the LSTM: several cost hardly more than one, since reading the weights takes longest.
        self.group_size = 16 if on_cpu else 128

    @staticmethod
    def _fold(layer: nn.Module) -> nn.Module:
        if isinstance(layer, EncodecConv1d):
            return FoldedConv1d(layer)
        if isinstance(layer, EncodecResnetBlock):
            return FoldedResnetBlock(layer)
        return nn.ELU()

    def _count_context_frames(self) -> int:
        """Number of past frames that the layers before the LSTM depend on, rounded up."""
        samples, step = 0, 1
        for convolution in (module for module in self.front.modules() if isinstance(module, FoldedConv1d)):
            samples += convolution.padding * step
            step *= convolution.stride
        return _ceil_div(samples, self.hop_length)

    @property
    def device(self) -> torch.device:
        return self.quantizer.embeddings.device

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Encode clips of any lengths.

        Args:
            waveforms (sequence of `np.ndarray` of shape `(num_samples,)`): Mono float32 clips at the codec's rate,
                each of at least one sample.

        Returns:
            `list[np.ndarray]`: Per clip the int64 codes of shape `(num_frames, num_codebooks)`, with `num_frames =
            ceil(num_samples / hop_length)`.
        """
        codes: list[np.ndarray] = [np.empty(0)] * len(waveforms)
        # Longest first: the clips that reach into a segment are then the first of their group.
        order = sorted(range(len(waveforms)), key=lambda i: -len(waveforms[i]))
        with full_precision(self.device):
            for start in range(0, len(order), self.group_size):
                group = order[start : start + self.group_size]
                for i, clip_codes in zip(group, self._encode_group([waveforms[i] for i in group]), strict=True):
                    codes[i] = clip_codes
        return codes

    def _encode_group(self, waveforms: list[np.ndarray]) -> list[np.ndarray]:
        """Encode clips, sorted by decreasing length, segment by segment."""
        num_frames = [_ceil_div(len(waveform), self.hop_length) for waveform in waveforms]
        pieces: list[list[np.ndarray]] = [[] for _ in waveforms]
        state = None
        contexts: list[torch.Tensor | None] = [None] * len(waveforms)
        for first in range(0, num_frames[0], self.segment_frames):
            lengths = [min(frames - first, self.segment_frames) for frames in num_frames if frames > first]
            hidden_states = self._convolve_segment(waveforms[: len(lengths)], first, lengths)
            recurrent, state = self.lstm(hidden_states, lengths, state)
            hidden_states = _elu(recurrent + hidden_states)
            embeddings: list[torch.Tensor] = []
            for i, length in enumerate(lengths):
                clip_embeddings, contexts[i] = self._last_convolution(hidden_states[i : i + 1, :length], contexts[i])
                embeddings.append(clip_embeddings[0])
            codes = self.quantizer(torch.cat(embeddings)).cpu()
            for piece, clip_codes in zip(pieces, codes.split(lengths), strict=False):
                piece.append(clip_codes.numpy())
        return [np.concatenate(piece) for piece in pieces]

    def _convolve_segment(self, waveforms: list[np.ndarray], first: int, lengths: list[int]) -> torch.Tensor:
        """Features (num_rows, num_steps, hidden_size) before the LSTM, of frames from `first` on."""
        context = min(first, self.context_frames)
        start = (first - context) * self.hop_length
        step = self.micro_batch_size
        # A single row would be multiplied by another routine than several; on a GPU there are always as many.
        num_rows = max(2, len(waveforms) if self.device.type == "cpu" else self.group_size)
        features: torch.Tensor | None = None
        for i in range(0, len(waveforms), step):
            own_lengths = lengths[i : i + step]
            num_steps = own_lengths[0] if step == 1 else self.segment_frames
            # At least two frames, so that the input of every layer is longer than what it reflects.
            size = max(context + num_steps, 2) * self.hop_length
            batch = np.zeros((step, size, 1), dtype=np.float32)
            samples = [0] * step
            for row, waveform in enumerate(waveforms[i : i + step]):
                piece = waveform[start : start + (context + own_lengths[row]) * self.hop_length]
                batch[row, : len(piece), 0] = piece
                samples[row] = len(piece)
            hidden_states = self._convolve(torch.from_numpy(batch).to(self.device), samples)
            if features is None:
                features = hidden_states.new_zeros(num_rows, num_steps, hidden_states.shape[-1])
            for row, length in enumerate(own_lengths):
                features[i + row, :length] = hidden_states[row, context : context + length]
        assert features is not None  # There is at least one clip.
        return features

    def _convolve(self, hidden_states: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        for layer in self.front:
            if isinstance(layer, nn.ELU):
                for tile in _tiles(hidden_states):
                    _elu(tile, out=tile)
                continue
            hidden_states = layer(hidden_states, lengths)
            if isinstance(layer, FoldedConv1d):
                lengths = [_ceil_div(length, layer.stride) for length in lengths]
        return hidden_states

    def _last_convolution(
        self, hidden_states: torch.Tensor, context: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings (1, num_frames, codebook_dim) of one clip, and the frames that precede its next segment."""
        padding, num_frames = self.last.padding, hidden_states.shape[1]
        if context is None:
            hidden_states = functional.pad(hidden_states, (0, 0, 0, max(0, padding + 1 - num_frames)))
        embeddings = self.last(hidden_states, [num_frames], context)[:, :num_frames]
        if context is not None:
            hidden_states = torch.cat([context, hidden_states], dim=1)
        return embeddings, hidden_states[:, hidden_states.shape[1] - padding :]
