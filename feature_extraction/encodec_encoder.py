"""EnCodec's encoder and residual quantizer for inference: weight norm folded in, time segments, micro-batches.

The convolutions before the LSTM are causal and see less than two frames of the past, so a clip can be cut into
segments that overlap by two frames; the LSTM and the last convolution carry their state from one segment to the next.
Memory then depends on the segment and the micro-batch, not on how long or how many the clips are.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecConv1d, EncodecLSTM, EncodecResnetBlock


def _ceil_div(length: int, divisor: int) -> int:
    return -(-length // divisor)


def _elu(hidden_states: torch.Tensor) -> torch.Tensor:
    # On a CPU torch evaluates expm1 one by one in double the time; here one unit in the last place is nothing.
    if hidden_states.device.type != "cpu":
        return functional.elu(hidden_states)
    return torch.maximum(hidden_states, hidden_states.clamp(max=0).exp_().sub_(1))


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Add `left` (batch, time, in) times `right` (in, out) to `total` (batch, time, out)."""
    if len(total) == 1:
        total[0].addmm_(left[0], right)
    else:
        total.baddbmm_(left, right.expand(len(left), -1, -1))


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Keep autocast, TF32 and bfloat16 products away: codes must not depend on what surrounds the call."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False), torch.backends.cudnn.flags(allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


class FoldedConv1d(nn.Module):
    """One causal convolution of EnCodec, its weight norm multiplied out once, as a sum of matrix products.

    With the channels last, `stride` consecutive steps lie side by side in memory: a convolution then is one product
    for each `stride` taps of its kernel, without any copy.

    Args:
        source (`EncodecConv1d`): The convolution to copy; it stays untouched.
    """

    def __init__(self, source: EncodecConv1d):
        super().__init__()
        conv = source.conv
        self.in_channels, self.stride, self.dilation = conv.in_channels, conv.stride[0], conv.dilation[0]
        self.padding = (conv.kernel_size[0] - 1) * self.dilation + 1 - self.stride
        num_products = conv.kernel_size[0] // self.stride
        # (out, in, taps) -> (products, steps of a stride x in, out)
        weight = conv.weight.detach().float().permute(2, 1, 0).reshape(num_products, -1, conv.out_channels)
        self.weight = nn.Buffer(weight.contiguous())
        self.bias = nn.Buffer(conv.bias.detach().float().clone())
        self.offsets = [(num_products - 1 - i) * self.dilation for i in range(num_products)]

    def forward(
        self, hidden_states: torch.Tensor, lengths: list[int], left: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Convolve `hidden_states`.

        Args:
            hidden_states (`torch.Tensor` of shape `(batch, time, channels)`): `time` is a multiple of the stride.
            lengths (`list[int]`): How much of each row is valid; what follows may be overwritten.
            left (`torch.Tensor` of shape `(batch, padding, channels)`, *optional*): What came before; a reflection of
                the beginning if not given.

        Returns:
            `torch.Tensor` of shape `(batch, time / stride, out_channels)`.
        """
        if left is None and self.padding:
            self._extend(hidden_states, lengths)
            left = hidden_states[:, 1 : self.padding + 1].flip(1)
        batch_size, time, channels = hidden_states.shape
        if channels == 1:
            patches = torch.cat([left, hidden_states], dim=1).unfold(1, len(self.offsets), 1)[:, :, 0]
            return functional.linear(patches, self.weight[:, 0].t(), self.bias)
        steps = time // self.stride
        blocks = hidden_states.reshape(batch_size, steps, self.stride * channels)
        output = self.bias.expand(batch_size, steps, -1).clone(memory_format=torch.contiguous_format)
        for offset, weight in zip(self.offsets, self.weight, strict=True):
            if steps > offset:
                _add_product(output[:, offset:], blocks[:, : steps - offset], weight)
            if offset:
                before = left.reshape(batch_size, -1, self.stride * channels)
                before = before[:, before.shape[1] - offset :][:, :steps]
                _add_product(output[:, :offset], before, weight)
        return output

    def _extend(self, hidden_states: torch.Tensor, lengths: list[int]) -> None:
        """Continue each row past its own end, in place, as `EncodecConv1d` would pad that row alone.

        `EncodecConv1d._pad1d` reflects on both sides; a row no longer than the left padding is first extended by
        zeros, and these zeros then also stand in for the reflection on the right.
        """
        for row, length in enumerate(lengths):
            end = _ceil_div(length, self.stride) * self.stride
            if length <= self.padding:
                hidden_states[row, length : max(end, self.padding + 1)] = 0
            elif end > length:
                hidden_states[row, length:end] = hidden_states[row, 2 * length - 1 - end : length - 1].flip(0)


class FoldedResnetBlock(nn.Module):
    """One residual block of EnCodec's encoder.

    Args:
        source (`EncodecResnetBlock`): The block to copy; it stays untouched.
    """

    def __init__(self, source: EncodecResnetBlock):
        super().__init__()
        self.convolutions = nn.ModuleList(FoldedConv1d(x) for x in source.block if isinstance(x, EncodecConv1d))
        self.shortcut = FoldedConv1d(source.shortcut) if isinstance(source.shortcut, EncodecConv1d) else None

    def forward(self, hidden_states: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        residual = hidden_states if self.shortcut is None else self.shortcut(hidden_states, lengths)
        for convolution in self.convolutions:
            hidden_states = convolution(_elu(hidden_states), lengths)
        return hidden_states.add_(residual)


class FoldedEncodecEncoder(nn.Module):
    """The way from waveforms to codes of a causal, unchunked `EncodecModel`, arranged for speed and bounded memory.

    Codes equal those of `EncodecModel.encode` called on each clip alone, up to entries that tie to rounding.

    Args:
        model (`EncodecModel`): The codec, already checked by `check_codec`. It is copied, never changed.
        num_rows (`int`): How many codebooks to search, beginning with the first.
        device (`torch.device` or `str`, *optional*, defaults to `"cpu"`): Where to encode.
    """

    def __init__(self, model: EncodecModel, num_rows: int, device: torch.device | str = "cpu"):
        super().__init__()
        layers = list(model.encoder.layers)
        position = next(i for i, layer in enumerate(layers) if isinstance(layer, EncodecLSTM))
        self.front = nn.ModuleList(self._fold(layer) for layer in layers[:position])
        source_lstm = layers[position].lstm
        self.lstm = nn.LSTM(source_lstm.input_size, source_lstm.hidden_size, source_lstm.num_layers)
        self.lstm.load_state_dict(source_lstm.state_dict())
        self.lstm.requires_grad_(False)
        self.last = FoldedConv1d(layers[-1])
        embeddings = [layer.codebook.embed.detach().float() for layer in model.quantizer.layers[:num_rows]]
        self.embeddings = nn.Buffer(torch.stack(embeddings))
        self.half_norms = nn.Buffer(self.embeddings.pow(2).sum(-1) / 2)

        self.hop_length = model.config.hop_length
        self.context_frames = self._count_context_frames()
        self.to(device)
        # A core's cache holds the activations of about two seconds; a GPU wants all the work it can get.
        on_cpu = torch.device(device).type == "cpu"
        self.segment_frames = 150 if on_cpu else 750
        self.micro_batch_size = 1 if on_cpu else 32
        self.group_size = 32 if on_cpu else 128

    @staticmethod
    def _fold(layer: nn.Module) -> nn.Module:
        if isinstance(layer, EncodecConv1d):
            return FoldedConv1d(layer)
        if isinstance(layer, EncodecResnetBlock):
            return FoldedResnetBlock(layer)
        return nn.ELU()

    def _count_context_frames(self) -> int:
        """Frames of the past that the layers before the LSTM look at, rounded up."""
        samples, step = 0, 1
        for convolution in (module for module in self.front.modules() if isinstance(module, FoldedConv1d)):
            samples += convolution.padding * step
            step *= convolution.stride
        return _ceil_div(samples, self.hop_length)

    @property
    def device(self) -> torch.device:
        return self.embeddings.device

    @torch.no_grad()
    def encode(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Encode clips of any lengths.

        Args:
            waveforms (sequence of `np.ndarray` of shape `(samples,)`): Mono float32 clips at the codec's rate, each of
                at least one sample.

        Returns:
            `list[np.ndarray]`: For each clip the int64 codes of shape `(frames, num_rows)`, `frames` being its samples
            over the hop length, rounded up.
        """
        codes: list[np.ndarray] = [np.empty(0)] * len(waveforms)
        # Longest first: the clips that are still running in a segment are then the first rows of the group.
        order = sorted(range(len(waveforms)), key=lambda i: -len(waveforms[i]))
        with full_precision(self.device):
            for start in range(0, len(order), self.group_size):
                group = order[start : start + self.group_size]
                for i, clip_codes in zip(group, self._encode_group([waveforms[i] for i in group]), strict=True):
                    codes[i] = clip_codes
        return codes

    def _encode_group(self, waveforms: list[np.ndarray]) -> list[np.ndarray]:
        """Encode clips sorted by falling length, segment after segment."""
        num_frames = [_ceil_div(len(waveform), self.hop_length) for waveform in waveforms]
        pieces: list[list[np.ndarray]] = [[] for _ in waveforms]
        state, context = None, None
        for first in range(0, num_frames[0], self.segment_frames):
            running = sum(frames > first for frames in num_frames)
            lengths = [min(frames - first, self.segment_frames) for frames in num_frames[:running]]
            hidden_states = self._convolve_segment(waveforms[:running], first, lengths[0])
            if state is not None:
                state = tuple(part[:, :running].contiguous() for part in state)
                context = context[:running]
            recurrent, state = self.lstm(hidden_states, state)
            hidden_states = _elu((recurrent + hidden_states).transpose(0, 1))
            hidden_states, context = self._last_convolution(hidden_states, context, lengths)
            codes = self._quantize(hidden_states).cpu().numpy()
            for piece, row, length in zip(pieces, codes, lengths, strict=False):
                piece.append(row[:length])
        return [np.concatenate(piece) for piece in pieces]

    def _convolve_segment(self, waveforms: list[np.ndarray], first: int, num_frames: int) -> torch.Tensor:
        """Features (frames, batch, channels) before the LSTM for `num_frames` frames from frame `first` on."""
        context = min(first, self.context_frames)
        start = (first - context) * self.hop_length
        # Two frames at least, so that every layer is longer than what it reflects.
        size = max(context + num_frames, 2) * self.hop_length
        features = []
        for row in range(0, len(waveforms), self.micro_batch_size):
            pieces = [waveform[start : start + size] for waveform in waveforms[row : row + self.micro_batch_size]]
            lengths = [len(piece) for piece in pieces]
            batch = np.zeros((len(pieces), size, 1), dtype=np.float32)
            for target, piece in zip(batch, pieces, strict=True):
                target[: len(piece), 0] = piece
            hidden_states = torch.from_numpy(batch).to(self.device)
            for layer in self.front:
                if isinstance(layer, nn.ELU):
                    hidden_states = _elu(hidden_states)
                    continue
                hidden_states = layer(hidden_states, lengths)
                if isinstance(layer, FoldedConv1d):
                    lengths = [_ceil_div(length, layer.stride) for length in lengths]
            features.append(hidden_states[:, context : context + num_frames])
        return torch.cat(features).transpose(0, 1).contiguous()

    def _last_convolution(
        self, hidden_states: torch.Tensor, context: torch.Tensor | None, lengths: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings (batch, frames, channels), and the frames that the next segment has to put before its own."""
        padding, num_frames = self.last.padding, hidden_states.shape[1]
        if context is None:
            hidden_states = functional.pad(hidden_states, (0, 0, 0, max(0, padding + 1 - num_frames)))
        embeddings = self.last(hidden_states, lengths, context)[:, :num_frames]
        if context is not None:
            hidden_states = torch.cat([context, hidden_states], dim=1)
        return embeddings, hidden_states[:, hidden_states.shape[1] - padding :]

    def _quantize(self, residual: torch.Tensor) -> torch.Tensor:
        """Codes (batch, frames, rows) of embeddings (batch, frames, channels)."""
        shape = residual.shape[:-1]
        residual = residual.reshape(-1, residual.shape[-1])
        codes = []
        for embedding, half_norm in zip(self.embeddings, self.half_norms, strict=True):
            # The nearest entry has the largest inner product less half its squared norm.
            indices = torch.addmm(half_norm, residual, embedding.t(), beta=-1).max(dim=-1).indices
            residual = residual - embedding[indices]
            codes.append(indices)
        return torch.stack(codes, dim=-1).reshape(*shape, -1)
