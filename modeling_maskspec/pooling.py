"""Pooling of hidden states. Model folders share this file by a link, because code on the Hub imports only siblings."""

import torch


def mean_over_frames(hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """
    Mean of the hidden states over the positions that `mask` keeps, accumulated in float32.

    Args:
        hidden_states (`torch.Tensor` of shape `(batch_size, sequence_length, hidden_size)`):
            Hidden states of one layer.
        mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
            Non-zero at the positions to keep; `None` keeps all.

    Returns:
        `torch.Tensor` of shape `(batch_size, hidden_size)`: The means in the dtype of `hidden_states`, zero where no
        position is kept.
    """
    if mask is None:
        return hidden_states.mean(dim=1, dtype=torch.float32).to(hidden_states.dtype)
    weights = mask.to(hidden_states.device).bool().float()
    total = (hidden_states.float() * weights[:, :, None]).sum(dim=1)
    return (total / weights.sum(dim=1, keepdim=True).clamp(min=1.0)).to(hidden_states.dtype)


__all__ = ["mean_over_frames"]
