"""Starts the embedding of a fresh model from the vectors that the codec itself has for its codes.

A random embedding does not know which codes sound alike. Codec2Vec (arXiv 2511.16639) starts from code vectors for
masked prediction on DAC codes; AudioFormer's paper does not, so this is off in its recipes.
"""

from typing import Any

import torch

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.code_vectors import code_vectors
from audioformer.feature_extraction.token_ids import CODE_OFFSET


def start_from_code_vectors(model: Any, extractor: AudioFormerFeatureExtractor, seed: int) -> None:
    """Replace the embeddings of the codes, in place; those of the special ids stay random, and all are trained.

    Distances between codes are those between their vectors, up to a common factor. Several codebooks share one
    rotation and one factor, so that the sum over the codes of a frame starts as what the codec's decoder reads.

    Args:
        model: A fresh AudioFormer model, with any head.
        extractor ([`AudioFormerFeatureExtractor`]): Its codec and its codebooks.
        seed (`int`): Seed of the rotation, see [`rotate_into`].
    """
    codebooks = [extractor.codebooks] if isinstance(extractor.codebooks, int) else extractor.codebooks
    vectors = [code_vectors(extractor.codec, codebook, extractor.codebook_size) for codebook in codebooks]
    embeddings = model.get_input_embeddings()
    tables = [embeddings] if len(codebooks) == 1 else list(embeddings)
    rotated = rotate_into(torch.cat(vectors), model.config.hidden_size, seed)
    # As large as the random ones they replace.
    scale = model.config.initializer_range / rotated.pow(2).mean().sqrt()
    with torch.no_grad():
        for table, part in zip(tables, rotated.chunk(len(tables)), strict=True):
            table.weight[CODE_OFFSET : CODE_OFFSET + len(part)] = part * scale


def rotate_into(vectors: torch.Tensor, size: int, seed: int) -> torch.Tensor:
    """Bring vectors to another number of dimensions by a random rotation, which keeps all distances.

    Where there are fewer dimensions than the vectors have, their main directions are kept (principal components).

    Args:
        vectors (`torch.Tensor` of shape `(num_vectors, dim)`): Centered vectors.
        size (`int`): Number of dimensions wanted.
        seed (`int`): Seed of the rotation. Without it, most of the weight would lie on a few dimensions.

    Returns:
        `torch.Tensor` of shape `(num_vectors, size)`: float32.
    """
    left, values, _ = torch.linalg.svd(vectors.double(), full_matrices=False)
    kept = min(size, len(values))
    noise = torch.randn(size, kept, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    directions, _ = torch.linalg.qr(noise)
    return (left[:, :kept] * values[:kept] @ directions.T).float()
