"""Attention as plain matrix products, and the two parts of a layer whose attention knows no positions.

Model folders share this file by a link: what travels to the Hub can import only its siblings.
"""

from collections.abc import Callable

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Unpack[TransformersKwargs],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention as plain matrix products, the only implementation that also returns the probabilities."""
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    probabilities = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    probabilities = nn.functional.dropout(probabilities, p=dropout, training=module.training)
    return torch.matmul(probabilities, value).transpose(1, 2).contiguous(), probabilities


class SelfAttention(nn.Module):
    """
    Bidirectional multi-head self-attention.

    Args:
        config ([`~transformers.PreTrainedConfig`]):
            Dropout (`attention_probs_dropout_prob`), and the implementation of attention.
        size (`int`):
            Size of the hidden states.
        num_heads (`int`):
            Number of heads.
        linear (function):
            Makes a linear layer from the sizes of input and output.
    """

    def __init__(self, config: PreTrainedConfig, size: int, num_heads: int, linear: Callable[[int, int], nn.Linear]):
        super().__init__()
        self.config = config
        self.head_dim = size // num_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_probs_dropout_prob
        self.is_causal = False
        self.q_proj = linear(size, size)
        self.k_proj = linear(size, size)
        self.v_proj = linear(size, size)
        self.o_proj = linear(size, size)

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        input_shape = hidden_states.shape[:-1]
        head_shape = (*input_shape, -1, self.head_dim)
        query = self.q_proj(hidden_states).view(head_shape).transpose(1, 2)
        key = self.k_proj(hidden_states).view(head_shape).transpose(1, 2)
        value = self.v_proj(hidden_states).view(head_shape).transpose(1, 2)
        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attention_output, attention_weights = attention_interface(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        return self.o_proj(attention_output.reshape(*input_shape, -1).contiguous()), attention_weights


class FeedForward(nn.Module):
    """
    The feed-forward part of a layer.

    Args:
        config ([`~transformers.PreTrainedConfig`]):
            Activation (`hidden_act`) and dropout (`hidden_dropout_prob`).
        size (`int`):
            Size of the hidden states.
        inner_size (`int`):
            Size between the two linear layers.
        linear (function):
            Makes a linear layer from the sizes of input and output.
    """

    def __init__(self, config: PreTrainedConfig, size: int, inner_size: int, linear: Callable[[int, int], nn.Linear]):
        super().__init__()
        self.up_proj = linear(size, inner_size)
        self.down_proj = linear(inner_size, size)
        self.act_fn = ACT2FN[config.hidden_act]
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.dropout(self.act_fn(self.up_proj(hidden_states))))


__all__ = ["FeedForward", "SelfAttention", "eager_attention_forward"]
