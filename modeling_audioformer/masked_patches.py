"""Masked autoencoding: which patches the encoder sees, and what the decoder is to predict of the others.

Model folders share this file by a link: what travels to the Hub can import only its siblings.
"""

import torch

TARGET_EPS = 1e-6
"""Added to the variance of a patch before the target is divided by its root."""


def choose_patches(
    noise: torch.Tensor, num_patches: int, group_size: int, mask_ratio: float, patch_mask: torch.Tensor | None = None
) -> torch.Tensor:
    """
    Choose the patches that the encoder sees, groups of neighbours together.

    Args:
        noise (`torch.FloatTensor` of shape `(batch_size, num_groups)`):
            A random number per group of a clip, `num_groups = ceil(num_patches / group_size)`. Groups with the
            smallest ones are kept.
        num_patches (`int`):
            Number of patches, with padding.
        group_size (`int`):
            Number of patches per group; the last group may be smaller.
        mask_ratio (`float`):
            Share of the patches of a clip that are not kept. At least one patch is kept.
        patch_mask (`torch.BoolTensor` of shape `(batch_size, num_patches)`, *optional*):
            Which patches are real. Others are never kept.

    Returns:
        `torch.LongTensor` of shape `(batch_size, num_kept)`: Indices in random order; -1 in rows with fewer patches.
    """
    noise = noise.repeat_interleave(group_size, dim=1)[:, :num_patches]
    if patch_mask is not None:
        noise = noise.masked_fill(~patch_mask, torch.inf)
    # Stable: members of a group, whose numbers are the same, stay in their order.
    order = noise.argsort(dim=1, stable=True)
    kept = order[:, : max(1, int(num_patches * (1 - mask_ratio)))]
    if patch_mask is None:
        return kept
    # In float64, as Python counts above: 0.3 * 10 must give the same number of patches here.
    wanted = (patch_mask.sum(dim=1, keepdim=True).double() * (1 - mask_ratio)).long().clamp(min=1)
    is_kept = torch.arange(kept.shape[1], device=kept.device) < wanted
    return torch.where(is_kept & patch_mask.gather(1, kept), kept, -1)


def masked_patches(kept: torch.Tensor, num_patches: int, patch_mask: torch.Tensor | None = None) -> torch.Tensor:
    """
    The patches that the encoder does not see.

    Args:
        kept (`torch.LongTensor` of shape `(batch_size, num_kept)`):
            Indices of those that it sees; -1 for none.
        num_patches (`int`):
            Number of patches, with padding.
        patch_mask (`torch.BoolTensor` of shape `(batch_size, num_patches)`, *optional*):
            Which patches are real.

    Returns:
        `torch.BoolTensor` of shape `(batch_size, num_patches)`: True at real patches that are not seen.
    """
    # One position more than there are patches takes what belongs to none.
    seen = torch.zeros(kept.shape[0], num_patches + 1, dtype=torch.bool, device=kept.device)
    masked = ~seen.scatter(1, torch.where(kept < 0, num_patches, kept), True)[:, :num_patches]
    return masked if patch_mask is None else masked & patch_mask


def standardized(patches: torch.Tensor) -> torch.Tensor:
    """
    Patches with mean 0 and variance 1 each: what a decoder predicts.

    Args:
        patches (`torch.Tensor` of shape `(..., patch_values)`):
            Values of each patch.

    Returns:
        `torch.FloatTensor` of the same shape. The variance is the unbiased one; a patch of one value becomes zero.
    """
    patches = patches.float()
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return (patches - mean) / (variance + TARGET_EPS).sqrt()


__all__ = ["choose_patches", "masked_patches", "standardized"]
