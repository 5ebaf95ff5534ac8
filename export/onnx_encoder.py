"""EnCodec's encoder as a module that torch.export can trace for any batch size and length.

The padding of `EncodecModel` branches on the length, which torch.export cannot trace; here the samples that the
padding mirrors are looked up by index. torch.export also unrolls an LSTM over the steps of the example input; here
each layer becomes one ONNX operator.
"""

import copy
from collections.abc import Sequence

import torch
from torch import nn
from transformers import EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecConv1d, EncodecLSTM


class _LookupPaddedConv1d(nn.Module):
    """A causal convolution of EnCodec that pads without branches.

    Args:
        source (`EncodecConv1d`): The convolution to copy, with weight norm and reflect padding; it is not changed.
    """

    def __init__(self, source: EncodecConv1d):
        super().__init__()
        conv = source.conv
        self.conv = nn.Conv1d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size[0],
            stride=conv.stride[0],
            dilation=conv.dilation[0],
        )
        assert conv.bias is not None  # `EncodecConv1d` never turns it off.
        # This multiplies weight norm out. `remove_parametrizations` on a copy would remove it from the original too,
        # because a deep copy shares the class that holds the parametrization.
        self.conv.load_state_dict({"weight": conv.weight.detach(), "bias": conv.bias.detach()})
        self.stride = self.conv.stride[0]
        self.padding = (self.conv.kernel_size[0] - 1) * self.conv.dilation[0] + 1 - self.stride

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(batch_size, in_channels, num_steps)` to `(batch_size, out_channels, ceil(num_steps / stride))`."""
        length = hidden_states.shape[-1]
        parts = [hidden_states]
        if self.padding:
            mirrored = torch.arange(self.padding, 0, -1, device=hidden_states.device)
            parts.insert(0, _look_up(hidden_states, mirrored, mirrored < length))
        if self.stride > 1:
            # As many as could be needed: the convolution ignores what does not fill a whole step.
            steps = torch.arange(self.stride - 1, device=hidden_states.device)
            # EnCodec extends a clip that is too short to mirror by zeros, which then also fill the step.
            long_enough = torch.full_like(steps, length) > self.padding
            parts.append(_look_up(hidden_states, length - 2 - steps, long_enough))
        return self.conv(torch.cat(parts, dim=-1))


def _look_up(hidden_states: torch.Tensor, positions: torch.Tensor, exists: torch.Tensor) -> torch.Tensor:
    """Values at `positions` in time, zero where `exists` is false."""
    positions = torch.where(exists, positions, torch.zeros_like(positions))
    return hidden_states.index_select(-1, positions) * exists.to(hidden_states.dtype)


class _OnnxLSTM(nn.Module):
    """EnCodec's LSTM, exported as one ONNX operator `LSTM` per layer.

    Args:
        source (`EncodecLSTM`): The module to replace; its weights are shared.
    """

    def __init__(self, source: EncodecLSTM):
        super().__init__()
        self.source = source
        weights = source.lstm.state_dict()
        for layer in range(source.lstm.num_layers):
            for name, parts in (("w", ["weight_ih"]), ("r", ["weight_hh"]), ("b", ["bias_ih", "bias_hh"])):
                ordered = torch.cat([_onnx_gates(weights[f"{part}_l{layer}"]) for part in parts])
                self.register_buffer(f"{name}{layer}", ordered[None])

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(batch_size, hidden_size, num_frames)` to the same shape."""
        if not torch.onnx.is_in_onnx_export():
            return self.source(hidden_states)
        inputs = outputs = hidden_states.permute(2, 0, 1)
        frames, batch_size, channels = inputs.shape
        for layer in range(self.source.lstm.num_layers):
            weights = [getattr(self, f"{name}{layer}") for name in "wrb"]
            outputs = torch.onnx.ops.symbolic(
                "LSTM",
                (outputs, *weights),
                {"hidden_size": channels},
                dtype=torch.float32,
                shape=(frames, 1, batch_size, channels),
            ).squeeze(1)
        return (outputs + inputs).permute(1, 2, 0)


def _onnx_gates(parameter: torch.Tensor) -> torch.Tensor:
    """Reorder the gates from torch (input, forget, cell, output) to ONNX (input, output, forget, cell)."""
    gate_in, gate_forget, gate_cell, gate_out = parameter.detach().chunk(4)
    return torch.cat([gate_in, gate_out, gate_forget, gate_cell])


class ExportableEncodecEncoder(nn.Module):
    """Encoder and quantizer of a causal, mono, unchunked `EncodecModel`: waveforms to codes.

    Args:
        model (`EncodecModel`): The codec, already checked by an extractor. It is copied, not changed.
        codebooks (sequence of `int`): Indices of the codebooks to return, in this order.
        target_rms (`float`, *optional*): Root mean square that each waveform is scaled to first, as by an extractor
            with `normalize="rms"`; by default waveforms are encoded as they are.
        min_rms (`float`, defaults to 0.001): Waveforms below it are amplified by `target_rms / min_rms`.
    """

    def __init__(
        self, model: EncodecModel, codebooks: Sequence[int], target_rms: float | None = None, min_rms: float = 0.001
    ):
        super().__init__()
        self.target_rms, self.min_rms = target_rms, min_rms
        self.codebooks = list(codebooks)
        self.encoder = copy.deepcopy(model.encoder).float()
        replacements = {EncodecConv1d: _LookupPaddedConv1d, EncodecLSTM: _OnnxLSTM}
        for name, module in list(self.encoder.named_modules()):
            if type(module) in replacements:
                self.encoder.set_submodule(name, replacements[type(module)](module))
        layers = model.quantizer.layers[: max(self.codebooks) + 1]
        self.quantizer_layers = copy.deepcopy(layers).float()
        self.eval().requires_grad_(False)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Encode clips of one length.

        Args:
            waveform (`torch.FloatTensor` of shape `(batch_size, num_samples)`): Mono sound at the codec's rate.

        Returns:
            `torch.LongTensor` of shape `(batch_size, num_frames, num_codebooks)`, with `num_frames = ceil(num_samples
            / hop_length)`.
        """
        if self.target_rms is not None:
            # In float64, as the extractor computes it.
            exact = waveform.double()
            rms = exact.square().mean(dim=-1, keepdim=True).sqrt().clamp(min=self.min_rms)
            waveform = (exact * (self.target_rms / rms)).float()
        residual = self.encoder(waveform[:, None])
        codes = []
        for layer in self.quantizer_layers:
            # torch's types do not know that the layers of this list are `EncodecVectorQuantization`.
            indices = layer.encode(residual)  # type: ignore[operator]
            residual = residual - layer.decode(indices)  # type: ignore[operator]
            codes.append(indices)
        return torch.stack([codes[codebook] for codebook in self.codebooks], dim=-1)
