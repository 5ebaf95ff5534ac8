"""RoFormer checkpoints to AudioFormer's."""

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
    Converts the weights of a RoFormer encoder (Su et al., arXiv 2104.09864) to AudioFormer's layout.

    - RoFormer turns the pairs `(2i, 2i + 1)` of each head, AudioFormer `(i, i + head_dim / 2)`: the rows of the query
      and key projections are reordered.
    - RoFormer adds a token-type vector to every embedding; there are no token types here, so vector 0 is added into
      the word embeddings. A decoder that is tied to the word embeddings in the checkpoint stays tied to the sum. That
      adds the same amount to all scores of a position, so log-probabilities and losses do not change (raw logits do).
      An untied decoder is taken over as it is.
    - The table of positions is dropped: AudioFormer computes them.
    - Classification and question-answering heads are dropped: they read the first position, AudioFormer's reads the
      mean.

    Args:
        state_dict (`Mapping[str, torch.Tensor]`):
            From a `RoFormerModel` or from any `RoFormerFor...`. It is not changed, and no tensor is shared with it
            unless it could be taken over as it is.
        num_attention_heads (`int`, *optional*):
            Only needed if the checkpoint lacks the table of positions, which gives the size of a head.

    Returns:
        `dict[str, torch.Tensor]`: for [`AudioFormerModel`] if the names of `state_dict` have no `roformer.` in front,
        otherwise for [`AudioFormerForMaskedLM`] (with its head) or, without a masked-LM head, for the encoder in
        [`AudioFormerForAudioClassification`], whose own head is not in it: load it with `strict=False`.

    Raises:
        `ValueError`: not a RoFormer state dict, an embedding of another width than the layers, an unknown head size.

    Example:

    ```python
    >>> model = AudioFormerForMaskedLM(config)
    >>> model.load_state_dict(convert_roformer_state_dict(roformer.state_dict()))
    ```"""
    has_head = any(name.startswith("cls.predictions.") for name in state_dict)
    has_prefix = any(name.startswith("roformer.") for name in state_dict)
    source = {name.removeprefix("roformer."): tensor for name, tensor in state_dict.items()}
    if _WORDS not in source:
        raise ValueError(f"Not a RoFormer state dict: it has no `{_WORDS}`, its names begin with {list(source)[:3]}.")
    if any(name.startswith("embeddings_project.") for name in source):
        raise ValueError(
            f"The embedding is projected from {source[_WORDS].shape[1]} values to the width of the layers "
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
                raise ValueError(f"`{name}` has no counterpart in AudioFormer, which is an encoder only.")
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
    # A decoder that equals the word embeddings is tied to them. Handing out its old values would undo the sum above:
    # a tied decoder is the same parameter as the embedding and is loaded after it.
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
                f"`num_attention_heads` must split the width {hidden_size} into even parts, got {num_attention_heads}."
            )
    elif _POSITIONS in source:
        head_dim = source[_POSITIONS].shape[1]
    else:
        raise ValueError(
            f"The state dict has no `{_POSITIONS}` to read the size of a head from: give `num_attention_heads`."
        )
    rows = torch.arange(hidden_size).view(-1, head_dim // 2, 2)
    return rows.transpose(1, 2).reshape(-1)


__all__ = ["convert_roformer_state_dict"]
