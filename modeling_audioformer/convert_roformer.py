"""Conversion of RoFormer checkpoints to AudioFormer."""

from collections.abc import Mapping

import torch

_LAYER_NAMES = {
    "attention.self.query": "attention.q_proj",
    "attention.self.key": "attention.k_proj",
    "attention.self.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
    "attention.output.LayerNorm": "attention_layer_norm",
    "intermediate.dense": "mlp.up_proj",
    "output.dense": "mlp.down_proj",
    "output.LayerNorm": "mlp_layer_norm",
}
_HEAD_NAMES = {
    "cls.predictions.transform.dense": "lm_head.dense",
    "cls.predictions.transform.LayerNorm": "lm_head.layer_norm",
    "cls.predictions.decoder": "lm_head.decoder",
}
_WORDS = "embeddings.word_embeddings.weight"
_TOKEN_TYPES = "embeddings.token_type_embeddings.weight"
_POSITIONS = "encoder.embed_positions.weight"
_DECODER = "cls.predictions.decoder.weight"
_DECODER_BIAS = "cls.predictions.decoder.bias"


def convert_roformer_state_dict(
    state_dict: Mapping[str, torch.Tensor], num_attention_heads: int | None = None
) -> dict[str, torch.Tensor]:
    r"""
    Convert the weights of a RoFormer encoder (Su et al., arXiv 2104.09864) to AudioFormer's layout.

    - RoFormer rotates the pairs `(2i, 2i + 1)` of each head, AudioFormer `(i, i + head_dim / 2)`: the rows of the
      query and key projections are reordered.
    - RoFormer adds a token-type vector to every embedding. AudioFormer has no token types, so vector 0 is added to the
      word embeddings. A decoder that is tied to the word embeddings in the checkpoint stays tied to the sum. This adds
      the same amount to all scores of a position, so log-probabilities and losses do not change, but raw logits do. An
      untied decoder is kept as it is.
    - The table of positions is dropped, because AudioFormer computes them.
    - Classification and question-answering heads are dropped: they read the first position, that of AudioFormer reads
      the mean.

    Args:
        state_dict (`Mapping[str, torch.Tensor]`):
            Weights of a `RoFormerModel` or any `RoFormerFor...`. It is not changed; tensors that need no conversion
            are shared.
        num_attention_heads (`int`, *optional*):
            Only needed if the checkpoint lacks the table of positions, from which the head size is derived.

    Returns:
        `dict[str, torch.Tensor]`: Weights of an [`AudioFormerModel`] if the names in `state_dict` have no prefix
        `roformer.`. Otherwise those of an [`AudioFormerForMaskedLM`], or, without a masked-LM head, those of the
        encoder of an [`AudioFormerForAudioClassification`], to be loaded with `strict=False`.

    Raises:
        ValueError: If this is not a RoFormer state dict, its embeddings have another size than its layers, or the head
            size is unknown.

    Example:

    ```python
    >>> model = AudioFormerForMaskedLM(config)
    >>> model.load_state_dict(convert_roformer_state_dict(roformer.state_dict()))
    ```"""
    has_head = any(name.startswith("cls.predictions.") for name in state_dict)
    has_prefix = any(name.startswith("roformer.") for name in state_dict)
    source = {name.removeprefix("roformer."): tensor for name, tensor in state_dict.items()}
    if _WORDS not in source:
        raise ValueError(f"Not a RoFormer state dict: it has no `{_WORDS}`, its first names are {list(source)[:3]}.")
    if any(name.startswith("embeddings_project.") for name in source):
        raise ValueError(
            f"The checkpoint projects embeddings of size {source[_WORDS].shape[1]} to the hidden size "
            "(`embedding_size` differs from `hidden_size`); AudioFormer has no such projection."
        )
    prefix = "audioformer." if has_prefix or has_head else ""
    words = _fold_token_types(source)
    order = _half_split_order(source, num_attention_heads)

    converted = {
        f"{prefix}{_WORDS}": words,
        f"{prefix}embeddings.layer_norm.weight": source["embeddings.LayerNorm.weight"],
        f"{prefix}embeddings.layer_norm.bias": source["embeddings.LayerNorm.bias"],
    }
    for name, tensor in source.items():
        module, _, kind = name.rpartition(".")
        if name.startswith("encoder.layer."):
            index, part = module.removeprefix("encoder.layer.").split(".", 1)
            if part not in _LAYER_NAMES:
                raise ValueError(f"`{name}` has no counterpart in AudioFormer, which is only an encoder.")
            if part in ("attention.self.query", "attention.self.key"):
                tensor = tensor[order]
            converted[f"{prefix}layers.{index}.{_LAYER_NAMES[part]}.{kind}"] = tensor
        elif module in _HEAD_NAMES:
            converted[f"{_HEAD_NAMES[module]}.{kind}"] = tensor
    if has_head:
        _complete_head(converted, source, words)
    return converted


def _fold_token_types(source: Mapping[str, torch.Tensor]) -> torch.Tensor:
    words = source[_WORDS]
    return words + source[_TOKEN_TYPES][0] if _TOKEN_TYPES in source else words


def _complete_head(
    converted: dict[str, torch.Tensor], source: Mapping[str, torch.Tensor], words: torch.Tensor
) -> None:
    # A decoder that equals the word embeddings is tied to them. Returning its old values would undo the sum above,
    # because a tied decoder is the same parameter as the embedding and is loaded after it.
    if _DECODER not in source or torch.equal(source[_DECODER], source[_WORDS]):
        converted["lm_head.decoder.weight"] = words
    if _DECODER_BIAS not in source:
        converted["lm_head.decoder.bias"] = source["cls.predictions.bias"]


def _half_split_order(source: Mapping[str, torch.Tensor], num_attention_heads: int | None) -> torch.Tensor:
    hidden_size = source[_WORDS].shape[1]
    if num_attention_heads is not None:
        head_dim, remainder = divmod(hidden_size, num_attention_heads)
        if remainder or head_dim % 2:
            raise ValueError(
                f"`num_attention_heads` must divide the hidden size {hidden_size} into even head sizes, got "
                f"{num_attention_heads}."
            )
    elif _POSITIONS in source:
        head_dim = source[_POSITIONS].shape[1]
    else:
        raise ValueError(
            f"The state dict has no `{_POSITIONS}` to derive the head size from: pass `num_attention_heads`."
        )
    rows = torch.arange(hidden_size).view(-1, head_dim // 2, 2)
    return rows.transpose(1, 2).reshape(-1)


__all__ = ["convert_roformer_state_dict"]
