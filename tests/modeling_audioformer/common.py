"""Tiny models and inputs, built in code."""

import torch

from audioformer.modeling_audioformer import AudioFormerConfig
from audioformer.modeling_audioformer.configuration_audioformer import CODE_OFFSET


def tiny_config(**changes) -> AudioFormerConfig:
    """Two layers of hidden size 32 and 95 codes; `changes` override any field."""
    fields = {
        "vocab_size": 99,
        "codebook_size": 95,
        "mask_token_id": 98,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        # Larger than the default, so that an error changes outputs by far more than rounding does.
        "initializer_range": 0.2,
    }
    return AudioFormerConfig(**{**fields, **changes})


def random_ids(config: AudioFormerConfig, batch: int, length: int, seed: int = 0) -> torch.Tensor:
    """`<BOA>`, random codes, `<EOA>`, of shape `(batch_size, sequence_length)`, without padding.

    For several codebooks `(batch_size, sequence_length, num_codebooks)`.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, length) + ((config.num_codebooks,) if config.num_codebooks > 1 else ())
    ids = torch.randint(CODE_OFFSET, CODE_OFFSET + config.codebook_size, shape, generator=generator)
    ids[:, 0], ids[:, -1] = config.boa_token_id, config.eoa_token_id
    return ids


def pad_row(ids: torch.Tensor, config: AudioFormerConfig, row: int, length: int) -> torch.Tensor:
    """Cut one sequence to `length` ids, the last of them `<EOA>`, and pad the rest."""
    ids = ids.clone()
    ids[row, length - 1] = config.eoa_token_id
    ids[row, length:] = config.pad_token_id
    return ids
