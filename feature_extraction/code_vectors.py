"""What the codes of a codec stand for: the vectors that its decoder gets for them."""

from typing import Any

import torch


@torch.no_grad()
def code_vectors(model: Any, codebook: int, codebook_size: int) -> torch.Tensor:
    """The vectors of a codebook in the space that the codec's decoder reads, centered.

    Residual codebooks add up. So each vector is what the decoder would get for the code alone, less the mean over all
    codes, in which whatever the other codebooks contribute cancels.

    Args:
        model: A loaded codec: an `EncodecModel`, `MimiModel`, `DacModel` or `Xcodec2Model`, or a model of the package
            encodec.
        codebook (`int`): Index of the codebook.
        codebook_size (`int`): Number of its entries.

    Returns:
        `torch.Tensor` of shape `(codebook_size, hidden_size)`: float32, on the CPU.
    """
    codes = torch.zeros(codebook + 1, codebook_size, dtype=torch.long, device=next(model.parameters()).device)
    codes[codebook] = torch.arange(codebook_size)
    codec_type = getattr(getattr(model, "config", None), "model_type", "encodec")
    if codec_type == "encodec":
        decoded = model.quantizer.decode(codes[:, None])
    elif codec_type == "mimi":
        decoded = model.quantizer.decode(codes[None])
    elif codec_type == "dac":
        decoded = model.quantizer.from_codes(codes[None])[0]
    else:
        # Finite scalar quantization has one codebook, and its vectors come with their dimensions last.
        decoded = model.quantizer.from_codes(codes).transpose(1, 2)
    vectors = decoded[0].T.float().cpu()
    return vectors - vectors.mean(dim=0)
