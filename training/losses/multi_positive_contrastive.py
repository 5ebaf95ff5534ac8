"""Multi-positive sample contrastive loss: AudioFormer (arXiv 2308.07221), Eq. 8."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from .gathering import gather_across_processes, number_of_processes

ZERO_NORM = 1e-12
"""Vectors of at most this norm have no direction: their similarity to any vector, and its gradient, are 0."""


class MultiPositiveContrastiveLoss(nn.Module):
    r"""
    Multi-positive sample contrastive learning (MPC), the second task of FT2. It pulls the anchor's vector of a clip
    towards the frozen models' vectors of the same clip, and pushes it away from all vectors of the other clips in the
    batch. It is an InfoNCE-like loss with in-batch negatives and several positives; more precisely, it is LSEP, or the
    unified loss of Circle loss without margins, over cosine similarities. With respect to the frozen models it is
    feature distillation from several teachers. For clip `D` of `B` clips with `N` codebooks each, where the anchor
    reads codebook 1, it is

        log(1 + sum_{a != D} sum_{c=1..N} e^{sim(D_1, a_c)/t} * sum_{c=2..N} e^{-sim(D_1, D_c)/t})
        = softplus(lse_{a != D, c=1..N} sim(D_1, a_c)/t + lse_{c=2..N} (-sim(D_1, D_c)/t))

    averaged over the anchors. The second form is computed. Vectors in half precision are converted to float32, also
    under autocast; float64 stays float64. Gradients flow through the other clips' anchors, which are negatives, but
    not into `positives`. A batch of one has no negatives: its loss and gradient are exactly 0. A zero vector has
    similarity 0 to every vector and gets no gradient.

    Args:
        temperature (`float`, *optional*, defaults to 0.05):
            Divisor of the cosine similarities, above 0. Other libraries call its inverse `scale`.
        gather_across_devices (`bool`, *optional*, defaults to `False`):
            Whether to use the batches of all processes of the default group as one. Without an initialized process
            group this changes nothing. The value is then the same on every process: the loss that one process would
            compute for the whole batch. The gradient with respect to the own anchors is that of this loss times the
            number of processes, so that the *mean* of the processes' parameter gradients, which DDP, FSDP and
            DeepSpeed take, is the gradient of the one-process loss. (Their sum would be too large by that factor.)
            Both hold for batch sizes that differ between processes, too.

    References:
        - AudioFormer: Audio Transformer learns audio feature representations from discrete acoustic codes,
          arXiv 2308.07221, section 3.3.2, Eq. 8 and Figure 4; Eq. 9 weights it against the classification loss.
        - Y. Sun et al.: Circle loss: A unified perspective of pair similarity optimization, CVPR 2020, Eq. 1.

    Requirements:
        1. A batch has at least two clips; otherwise the gradient is 0.
        2. The frozen models are in eval mode, so that a clip's positives do not change from step to step.
        3. With `gather_across_devices`, every process calls the loss equally often; otherwise the others wait. As it
           uses the default group, each process must have its own clips (no tensor or context parallelism).

    Inputs:
        | argument | shape | values |
        | --- | --- | --- |
        | `anchors` | `(batch_size, hidden_size)` | floating point, pooled vectors of the trained model |
        | `positives` | `(batch_size, num_codebooks - 1, hidden_size)` | floating point, those of the frozen models |

        There are no labels. Returns a scalar, float32 (float64 if an input is float64).

        Raises `ValueError` for a `temperature` that is not a finite number above 0, and for inputs that are not
        floating point, have other numbers of dimensions or an empty dimension, or do not match in shape. If shapes do
        not match between processes, all of them raise.

    Recommendations:
        - Larger batches give more negatives. Gradient accumulation does not enlarge the batch: each part is contrasted
          with itself only, so the loss is *not* that of one batch of the accumulated size. `gather_across_devices`
          enlarges it exactly.
        - Sample without repeats within a batch: a clip drawn twice is its own negative. Clips of one class are
          negatives of each other as well, which the paper accepts.
        - Every process computes the matrix of all `batch_size * batch_size * num_codebooks` similarities and
          communicates nothing in the backward pass. This suits thousands of clips per step and is wasteful beyond.
        - `torch.set_float32_matmul_precision("highest")`, PyTorch's default, keeps the similarities exact. TF32 has
          errors of about 1e-3, which the temperature multiplies by 20.

    Relations:
        - [`LSEPLoss`] has the same form, with logits instead of scaled similarities.
        - With one positive per clip it is the InfoNCE loss (NT-Xent, multiple negatives ranking) whose candidates are
          the clip's own positive, the other clips' positives and the other clips' anchors.
        - Supervised contrastive loss averages over the positives outside the logarithm. Here the positive farthest
          from the anchor has the most weight.

    Example:

    ```python
    >>> import torch
    >>> from audioformer.training.losses import MultiPositiveContrastiveLoss

    >>> anchors = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    >>> positives = torch.tensor([[[0.6, 0.8], [0.8, 0.6]], [[0.0, 2.0], [1.0, 1.0]]])
    >>> loss = MultiPositiveContrastiveLoss(temperature=0.5)(anchors, positives)
    >>> print(f"{loss.item():.4f}")
    1.4556
    >>> loss.backward()
    >>> anchors.grad.shape
    torch.Size([2, 2])

    ```
    """

    def __init__(self, temperature: float = 0.05, gather_across_devices: bool = False) -> None:
        super().__init__()
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(f"`temperature` must be a finite number above 0, got {temperature}.")
        self.temperature = temperature
        self.gather_across_devices = gather_across_devices

    def forward(self, anchors: torch.Tensor, positives: torch.Tensor) -> torch.Tensor:
        self._check(anchors, positives)
        dtype = torch.promote_types(torch.promote_types(anchors.dtype, positives.dtype), torch.float32)
        anchors, positives = anchors.to(dtype), positives.detach().to(dtype)
        if not self.gather_across_devices or number_of_processes() == 1:
            return self._mean_over_anchors(anchors, positives)

        gathered, start = gather_across_processes(torch.cat([anchors.detach().unsqueeze(1), positives], dim=1))
        # The own anchors are put back in place, because gathering cut off their gradient.
        all_anchors = torch.cat([gathered[:start, 0], anchors, gathered[start + len(anchors) :, 0]])
        loss = self._mean_over_anchors(all_anchors, gathered[:, 1:])
        # Each process has the gradient of the same loss with respect to its own anchors only. Their sum is the
        # gradient of the loss, and taking their mean divides it by the number of processes. This multiplies the
        # gradient by that number and keeps the value.
        return loss.detach() + number_of_processes() * (loss - loss.detach())

    def _mean_over_anchors(self, anchors: torch.Tensor, positives: torch.Tensor) -> torch.Tensor:
        # Autocast would multiply the matrices in half precision whatever their dtype.
        with torch.autocast(anchors.device.type, enabled=False):
            anchors, positives = _unit_vectors(anchors), _unit_vectors(positives)
            to_own = (anchors.unsqueeze(1) * positives).sum(dim=-1) / self.temperature
            to_all = anchors @ torch.cat([anchors.unsqueeze(1), positives], dim=1).flatten(0, 1).T / self.temperature
        batch_size, num_codebooks = len(anchors), 1 + positives.shape[1]
        own = torch.eye(batch_size, dtype=torch.bool, device=anchors.device).repeat_interleave(num_codebooks, dim=1)
        # The lowest finite value rather than -inf: in a batch of one every entry is filled, and a log-sum-exp over
        # nothing but -inf has NaN gradients, at which anomaly detection stops.
        negatives = to_all.masked_fill(own, torch.finfo(to_all.dtype).min).logsumexp(dim=-1)
        # Softplus becomes linear above its threshold; at the default of 20 the error is 2e-9.
        return F.softplus(negatives + (-to_own).logsumexp(dim=-1), threshold=40.0).mean()

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, gather_across_devices={self.gather_across_devices}"

    @staticmethod
    def _check(anchors: torch.Tensor, positives: torch.Tensor) -> None:
        if not (anchors.is_floating_point() and positives.is_floating_point()):
            raise ValueError(
                f"`anchors` and `positives` must be floating point, got {anchors.dtype} and {positives.dtype}."
            )
        if anchors.ndim != 2 or anchors.numel() == 0:
            raise ValueError(
                "`anchors` must have the shape (batch_size, hidden_size), both at least 1, "
                f"got {tuple(anchors.shape)}."
            )
        batch_size, hidden_size = anchors.shape
        if positives.ndim != 3 or positives.numel() == 0 or positives.shape[::2] != anchors.shape:
            raise ValueError(
                f"`positives` must have the shape ({batch_size}, num_codebooks - 1, {hidden_size}), none of them 0, "
                f"for `anchors` of shape {tuple(anchors.shape)}, got {tuple(positives.shape)}."
            )


def _unit_vectors(vectors: torch.Tensor) -> torch.Tensor:
    """Divide by the Euclidean norm. Zero vectors stay zero: dividing by a tiny constant would make huge gradients."""
    norms = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    is_zero = norms <= ZERO_NORM  # false for NaN, which must not be hidden
    return torch.where(is_zero, 0.0, vectors / torch.where(is_zero, 1.0, norms))
