"""The model's token ids: codes shifted by `CODE_OFFSET`, between BOA and EOA (arXiv 2308.07221, section 4.2)."""

import numpy as np

BOA_TOKEN_ID = 0
"""Beginning of the audio."""
PAD_TOKEN_ID = 1
"""Padding."""
EOA_TOKEN_ID = 2
"""End of the audio."""
CODE_OFFSET = 3
"""Code `c` has the id `c + CODE_OFFSET`, after the three special ids."""


def codes_to_ids(codes: np.ndarray) -> np.ndarray:
    """Turn the codes of one clip into token ids.

    Args:
        codes (`np.ndarray` of shape `(num_frames,)` or `(num_frames, num_codebooks)`): Codes of any integer type.

    Returns:
        `np.ndarray` of shape `(num_frames + 2,)` or `(num_frames + 2, num_codebooks)`, int64: BOA, the shifted codes,
        EOA.
    """
    ids = np.empty((len(codes) + 2, *codes.shape[1:]), dtype=np.int64)
    ids[0] = BOA_TOKEN_ID
    ids[1:-1] = codes
    ids[1:-1] += CODE_OFFSET
    ids[-1] = EOA_TOKEN_ID
    return ids


def ids_to_codes(ids: np.ndarray) -> np.ndarray:
    """Turn the token ids of one clip back into codes.

    Args:
        ids (`np.ndarray` of shape `(num_frames + 2,)` or `(num_frames + 2, num_codebooks)`): BOA, the shifted codes,
            EOA, without padding.

    Returns:
        `np.ndarray` of shape `(num_frames,)` or `(num_frames, num_codebooks)`, int64.

    Raises:
        ValueError: If the ids do not begin with BOA and end with EOA, or there are other special ids among them.
    """
    ids = np.asarray(ids, dtype=np.int64)
    if len(ids) < 2 or (ids[0] != BOA_TOKEN_ID).any() or (ids[-1] != EOA_TOKEN_ID).any():
        raise ValueError(
            f"The ids of a clip must begin with BOA ({BOA_TOKEN_ID}) and end with EOA ({EOA_TOKEN_ID}), without "
            f"padding; got {ids[:1].tolist()} ... {ids[-1:].tolist()}."
        )
    codes = ids[1:-1] - CODE_OFFSET
    if codes.size and codes.min() < 0:
        raise ValueError(
            f"Between BOA and EOA there must be ids of codes, {CODE_OFFSET} or above; got {codes.min() + CODE_OFFSET}."
        )
    return codes
