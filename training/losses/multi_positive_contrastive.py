"""Multi-positive sample contrastive loss: AudioFormer (arXiv 2308.07221), Eq. 8."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from .gathering import gather_across_processes, number_of_processes

ZERO_NORM = 1e-12
"""Vectors no longer than this have no direction: their similarity to anything, and its gradient, are 0."""


class MultiPositiveContrastiveLoss(nn.Module):
    r"""
    Multi-positive sample contrastive learning (MPC), the second task of FT2: draws the anchor's vector of a clip
    towards the frozen models' vectors of the same clip, and away from all vectors of the other clips in the batch.
    In the literature's terms an in-batch-negatives, InfoNCE-like loss with several positives; more exactly LSEP, or
    the unified loss of Circle loss without margins, over cosine similarities; seen from the frozen models, a feature
    distillation from several teachers. For clip `D` of `B` clips, each with `N` rows of codes, row 1 the anchor:

        log(1 + sum_{a != D} sum_{c=1..N} e^{sim(D_1, a_c)/t} * sum_{c=2..N} e^{-sim(D_1, D_c)/t})
        = softplus(lse_{a != D, c=1..N} sim(D_1, a_c)/t + lse_{c=2..N} (-sim(D_1, D_c)/t))

    The mean over the anchors is returned, computed in the second form. Vectors of less than 32 bits are raised to
    float32 first, also under autocast; float64 stays float64. The other clips' anchors are negatives that gradients
    flow through; none flows into `positives`. A batch of one has no negatives: its loss and gradient are exactly 0.
    A zero vector is at similarity 0 from everything and gets no gradient.

    Args:
        temperature (`float`, *optional*, defaults to 0.05):
            Cosine similarities are divided by it (it is the inverse of what other libraries call `scale`). Above 0.
        gather_across_devices (`bool`, *optional*, defaults to `False`):
            Whether the batch is the joined one of all processes of the default group, in place of the own process's.
            Without an initialised process group it changes nothing. The value is then the same on every process: the
            one-process loss of the joined batch. The gradient with respect to the own anchors is that of the joined
            loss times the number of processes, so that the *mean* of the processes' parameter gradients, as DDP, FSDP
            and DeepSpeed take it, is the gradient of the one-process loss (a sum of them would be too large by
            that number). Batch sizes may differ by process, and both hold as well.

    References:
        - AudioFormer: Audio Transformer learns audio feature representations from discrete acoustic codes,
          arXiv 2308.07221, section 3.3.2, Eq. 8 and Figure 4; Eq. 9 weighs it against the classification loss.
        - Y. Sun et al.: Circle loss: A unified perspective of pair similarity optimization, CVPR 2020, Eq. 1.

    Requirements:
        1. At least two clips in a batch, or there is nothing to learn from.
        2. Frozen models in eval mode, so that a clip's positives do not change from step to step.
        3. With `gather_across_devices`, every process calls the loss equally often, or the others wait for it. Its
           group is the default one, so each process must hold other clips (no tensor or context parallelism).

    Inputs:
        | argument | shape | values |
        | --- | --- | --- |
        | `anchors` | `(batch_size, hidden_size)` | floating point, pooled vectors of the model in training |
        | `positives` | `(batch_size, num_rows - 1, hidden_size)` | floating point, those of the frozen models |

        No labels. Returns a scalar, float32 (float64 if an input is).

        Raises `ValueError` for a `temperature` that is not a finite number above 0, inputs that are not floating
        point, other numbers of dimensions, an empty dimension, and shapes that do not match, be it between the two
        arguments or between processes (on all of them).

    Recommendations:
        - The larger the batch the more negatives. Gradient accumulation does not make it larger: each part is
          contrasted with itself alone, so the loss is *not* equal to that of one batch of the accumulated size.
          `gather_across_devices` does, exactly.
        - Sample without repeats within a batch: a clip drawn twice is its own negative. Clips of one class are
          negatives of each other all the same, which the paper accepts.
        - Every process works out the whole joined matrix of `batch * batch * num_rows` similarities, and sends
          nothing in the backward pass: right for thousands of clips a step, wasteful beyond.
        - `torch.set_float32_matmul_precision("highest")`, PyTorch's default, keeps the similarities exact: TF32 is
          off by about 1e-3, which the temperature multiplies by 20.

    Relations:
        - [`LSEPLoss`] has the same form, with logits in place of scaled similarities.
        - With one row of positives it is the InfoNCE loss (NT-Xent, multiple negatives ranking) whose candidates are
          the clip's own positive, the other clips' positives and the other clips' anchors.
        - Supervised contrastive loss averages over the positives outside the logarithm; here the positive that is
          farthest from the anchor weighs most.

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

        joined, start = gather_across_processes(torch.cat([anchors.detach().unsqueeze(1), positives], dim=1))
        # The own anchors take their place again, for they carry the gradient.
        joined_anchors = torch.cat([joined[:start, 0], anchors, joined[start + len(anchors) :, 0]])
        loss = self._mean_over_anchors(joined_anchors, joined[:, 1:])
        # Each process has the gradient of the same loss with respect to its own anchors alone: their sum is the whole,
        # and taking the mean divides it by the number of processes. This leaves the value and multiplies the gradient.
        return loss.detach() + number_of_processes() * (loss - loss.detach())

    def _mean_over_anchors(self, anchors: torch.Tensor, positives: torch.Tensor) -> torch.Tensor:
        # Autocast would multiply matrices in 16 bits whatever they came in.
        with torch.autocast(anchors.device.type, enabled=False):
            anchors, positives = _unit_vectors(anchors), _unit_vectors(positives)
            to_own = (anchors.unsqueeze(1) * positives).sum(dim=-1) / self.temperature
            to_all = anchors @ torch.cat([anchors.unsqueeze(1), positives], dim=1).flatten(0, 1).T / self.temperature
        batch_size, num_rows = len(anchors), 1 + positives.shape[1]
        own = torch.eye(batch_size, dtype=torch.bool, device=anchors.device).repeat_interleave(num_rows, dim=1)
        # The lowest finite value, not -inf: in a batch of one everything is filled, and a log-sum-exp over -inf alone
        # has NaN gradients: masked again here, but anomaly detection stops at them.
        negatives = to_all.masked_fill(own, torch.finfo(to_all.dtype).min).logsumexp(dim=-1)
        # Softplus turns linear above its threshold; at the default of 20 that is off by 2e-9.
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
                "`anchors` must have the shape (batch_size, hidden_size), neither of them 0, "
                f"got {tuple(anchors.shape)}."
            )
        batch_size, hidden_size = anchors.shape
        if positives.ndim != 3 or positives.numel() == 0 or positives.shape[::2] != anchors.shape:
            raise ValueError(
                f"`positives` must have the shape ({batch_size}, num_rows - 1, {hidden_size}) with at least one row "
                f"for `anchors` of shape {tuple(anchors.shape)}, got {tuple(positives.shape)}."
            )


def _unit_vectors(vectors: torch.Tensor) -> torch.Tensor:
    """Divide by the Euclidean norm; zero vectors stay zero, where dividing by a tiny constant makes huge gradients."""
    norms = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    is_zero = norms <= ZERO_NORM  # false for NaN, which has to show
    return torch.where(is_zero, 0.0, vectors / torch.where(is_zero, 1.0, norms))
