"""The LSTM of EnCodec for several clips at once, where no clip depends on the others."""

import torch
from torch import nn

from .matrix_products import add_product


class EncodecClipLSTM(nn.Module):
    """A unidirectional LSTM whose outputs for a clip have the same bits whatever the other clips are.

    On a CPU the recurrence is a loop over steps, whose products always have `num_rows` rows: `nn.LSTM` multiplies
    differently for one clip and for several, and arranges the weights anew in each step. On a GPU it is `nn.LSTM`,
    always with the same shape.

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
                weight = getattr(self.fused, f"{name}_l{layer}").detach()
                self.register_buffer(f"{name}_{layer}", self._reorder(weight).t().contiguous(), persistent=False)
            bias = getattr(self.fused, f"bias_ih_l{layer}") + getattr(self.fused, f"bias_hh_l{layer}")
            self.register_buffer(f"bias_{layer}", self._reorder(bias.detach()), persistent=False)

    def _reorder(self, gates: torch.Tensor) -> torch.Tensor:
        """Gates in the order input, forget, output, cell: those with a sigmoid are then adjacent."""
        i, f, g, o = gates.chunk(4)
        return torch.cat([i, f, o, g])

    def forward(
        self, inputs: torch.Tensor, lengths: list[int], state: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Continue the recurrence.

        Args:
            inputs (`torch.Tensor` of shape `(num_rows, num_steps, hidden_size)`): Steps of each clip.
            lengths (`list[int]`): Number of valid steps of each clip; there may be fewer clips than rows.
            state (tuple of 2 `torch.Tensor` of shape `(num_layers, num_rows, hidden_size)`, *optional*): Where the
                steps before ended; `None` at the beginning.

        Returns:
            `tuple`: Outputs, of the shape of `inputs`, and the new state.
        """
        if state is None:
            zeros = inputs.new_zeros(self.num_layers, len(inputs), self.hidden_size)
            state = (zeros, zeros.clone())
        if inputs.device.type != "cpu":
            return self.fused(inputs, state)
        hidden, cell = state[0].clone(), state[1].clone()
        for layer in range(self.num_layers):
            inputs = self._run_layer(layer, inputs, lengths, hidden[layer], cell[layer])
            hidden[layer] = inputs[:, -1]
        return inputs, (hidden, cell)

    def _run_layer(
        self, layer: int, inputs: torch.Tensor, lengths: list[int], hidden: torch.Tensor, cell: torch.Tensor
    ) -> torch.Tensor:
        """Outputs of one layer from its state, `(num_rows, hidden_size)`; `cell` is brought up to date in place."""
        num_rows, num_steps, _ = inputs.shape
        size = self.hidden_size
        weight_ih, weight_hh = self.get_buffer(f"weight_ih_{layer}"), self.get_buffer(f"weight_hh_{layer}")
        gates = self.get_buffer(f"bias_{layer}").repeat(num_steps, num_rows, 1)
        for row, length in enumerate(lengths):
            add_product(gates[None, :length, row], inputs[row, None, :length], weight_ih)
        outputs = inputs.new_empty(num_steps, num_rows, size)
        for step_gates, output in zip(gates, outputs, strict=True):
            step_gates.addmm_(hidden, weight_hh)
            sigmoids, candidate = step_gates[:, : 3 * size].sigmoid_(), step_gates[:, 3 * size :].tanh_()
            cell.mul_(sigmoids[:, size : 2 * size]).addcmul_(sigmoids[:, :size], candidate)
            torch.mul(torch.tanh(cell), sigmoids[:, 2 * size :], out=output)
            hidden = output
        return outputs.transpose(0, 1)
