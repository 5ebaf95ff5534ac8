"""The LSTM of EnCodec for several clips at once, where no clip depends on the others."""

import torch
from torch import nn

from .matrix_products import add_product


class EncodecClipLSTM(nn.Module):
    """A unidirectional LSTM whose outputs for a clip have the same bits whatever the other clips are.

    On a CPU the recurrence is a loop over steps: `nn.LSTM` multiplies differently for one clip and for several, and
    arranges the weights anew in each step. On a GPU it is `nn.LSTM`, which is to be called with one shape only.

    Args:
        source (`nn.LSTM`): The layers to copy, with biases; it is not changed.
    """

    def __init__(self, source: nn.LSTM):
        super().__init__()
        self.hidden_size, self.num_layers = source.hidden_size, source.num_layers
        self.fused = nn.LSTM(source.input_size, source.hidden_size, source.num_layers, batch_first=True)
        self.fused.load_state_dict(source.state_dict())
        self.fused.requires_grad_(False)
        for layer in range(self.num_layers):
            for name in ("weight_ih", "weight_hh"):
                weight = self._by_gate(getattr(self.fused, f"{name}_l{layer}")).transpose(1, 2)
                self.register_buffer(f"{name}_{layer}", weight.contiguous(), persistent=False)
            bias = getattr(self.fused, f"bias_ih_l{layer}") + getattr(self.fused, f"bias_hh_l{layer}")
            self.register_buffer(f"bias_{layer}", self._by_gate(bias), persistent=False)

    def _by_gate(self, parameter: torch.Tensor) -> torch.Tensor:
        """Parts of `nn.LSTM`'s parameter for the input, forget, output and cell gate: sigmoids first."""
        i, f, g, o = parameter.detach().chunk(4)
        return torch.stack([i, f, o, g])

    def forward(
        self, inputs: torch.Tensor, lengths: list[int], state: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Continue the recurrence.

        Args:
            inputs (`torch.Tensor` of shape `(num_rows, num_steps, hidden_size)`): Steps of each clip; there
                are at least two rows, and there may be more rows than clips.
            lengths (`list[int]`): Number of valid steps of each clip.
            state (tuple of 2 `torch.Tensor` of shape `(num_layers, num_rows, hidden_size)`, *optional*): Where the
                steps before ended; it may have more rows, for clips that have ended since. `None` at the beginning.

        Returns:
            `tuple`: Outputs, of the shape of `inputs`, and the new state.
        """
        if state is None:
            zeros = inputs.new_zeros(self.num_layers, len(inputs), self.hidden_size)
            state = (zeros, zeros.clone())
        if inputs.device.type != "cpu":
            return self.fused(inputs, state)
        hidden, cell = (part[:, : len(inputs)].clone() for part in state)
        for layer in range(self.num_layers):
            inputs = self._run_layer(layer, inputs, lengths, hidden[layer], cell[layer])
            hidden[layer] = inputs[:, -1]
        return inputs, (hidden, cell)

    def _run_layer(
        self, layer: int, inputs: torch.Tensor, lengths: list[int], hidden: torch.Tensor, cell: torch.Tensor
    ) -> torch.Tensor:
        """Outputs of one layer from its state, `(num_rows, hidden_size)`; `cell` is brought up to date in place."""
        num_rows, num_steps, size = inputs.shape
        weight_ih, weight_hh = self.get_buffer(f"weight_ih_{layer}"), self.get_buffer(f"weight_hh_{layer}")
        # With the gates apart, what a step multiplies and changes is contiguous.
        gates = self.get_buffer(f"bias_{layer}")[:, None].repeat(num_steps, 1, num_rows, 1)
        for row, length in enumerate(lengths):
            for gate, weight in enumerate(weight_ih):
                add_product(gates[None, :length, gate, row], inputs[row, None, :length], weight)
        outputs = inputs.new_empty(num_steps, num_rows, size)
        # All views at once: making them step by step takes as long as the arithmetic.
        views = zip(
            gates, gates[:, :3].unbind(), *(gates[:, gate].unbind() for gate in range(4)), outputs, strict=True
        )
        for all_gates, sigmoids, input_gate, forget_gate, output_gate, candidate, output in views:
            add_product(all_gates, hidden.expand(4, -1, -1), weight_hh)
            sigmoids.sigmoid_()
            cell.mul_(forget_gate).addcmul_(input_gate, candidate.tanh_())
            torch.mul(cell.tanh(), output_gate, out=output)
            hidden = output
        return outputs.transpose(0, 1)
