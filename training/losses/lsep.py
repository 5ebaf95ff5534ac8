"""Multi-label ranking loss in log-sum-exp form: AudioFormer (arXiv 2308.07221), Eq. 7."""

import torch
from torch import nn

from audioformer.modeling_audioformer.classification_loss import lsep_loss


class LSEPLoss(nn.Module):
    r"""
    Log-sum-exp pairwise loss (LSEP), the multi-label counterpart of softmax cross-entropy. Within a clip, every class
    that is present should score above every class that is absent. It is also known as the smooth pairwise ranking
    (hinge) loss, as the unified loss of Circle loss without margin and scale, and, with a fixed threshold score, as
    the multi-label softmax loss. With the negatives `N` and the positives `P` of a clip, and its logits `s`, it is

        log(1 + sum_{j in N} e^{s_j} * sum_{i in P} e^{-s_i}) = softplus(lse_{j in N} s_j + lse_{i in P} (-s_i))

    averaged over the clips of a batch. The second form is computed, which forms no pairs of classes and in which no
    exponential overflows. Logits in half precision are converted to float32; float64 stays float64. A clip without
    positives or without negatives has no pairs to rank: it adds exactly 0 to the sum, has a gradient of exactly 0, and
    counts in the mean. The loss has no settings.

    References:
        - AudioFormer: Audio Transformer learns audio feature representations from discrete acoustic codes,
          arXiv 2308.07221, section 3.3.1, Eq. 7.
        - Y. Li, Y. Song, J. Luo: Improving pairwise ranking for multi-label image classification, CVPR 2017.
        - Y. Sun et al.: Circle loss: A unified perspective of pair similarity optimization, CVPR 2020, Eq. 1.

    Requirements:
        1. Every class is labeled in every clip: an entry of 0 means absent, not unknown.
        2. Labels are hard. Mixed clips take the union of their labels; a ranking has no smoothed labels.

    Inputs:
        | argument | shape | values |
        | --- | --- | --- |
        | `logits` | `(batch_size, num_labels)` | floating point, unbounded: one score per class, before any sigmoid |
        | `labels` | `(batch_size, num_labels)` | multi-hot, 0 or 1, of any dtype (bool, integer or floating point) |

        Returns a scalar, float32 (float64 for float64 logits).

        Raises `ValueError` for logits that are not floating point or do not have two dimensions, for an empty batch,
        for labels of another shape, and for labels other than 0 and 1. The check of the values synchronizes with the
        device once per call. `torch.compile` skips it, so that the graph stays whole; labels equal to 1 are then the
        positives.

    Recommendations:
        - Rankings need positives: sample unbalanced sets by class weight, as the paper does for AudioSet.
        - The loss ranks the classes of a clip and does not change if a constant is added to all of its logits. A
          sigmoid of the logits is not a probability until it has been calibrated on held-out clips.
        - Clips do not interact. With gradient accumulation, and across processes with equal batch sizes, the mean of
          the partial losses is the loss of the whole batch.

    Relations:
        - With exactly one positive per clip it equals `torch.nn.CrossEntropyLoss`.
        - `torch.nn.BCEWithLogitsLoss` treats classes independently (Eq. 6). It is calibrated, but dominated by the
          many negatives.
        - [`MultiPositiveContrastiveLoss`] has the same form, with scaled cosine similarities instead of logits.

    Example:

    ```python
    >>> import torch
    >>> from audioformer.training.losses import LSEPLoss

    >>> logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]], requires_grad=True)
    >>> labels = torch.tensor([[1, 0, 1], [0, 0, 0]])
    >>> loss = LSEPLoss()(logits, labels)
    >>> print(f"{loss.item():.4f}")
    0.1207
    >>> loss.backward()
    >>> logits.grad[1].tolist()
    [0.0, 0.0, 0.0]

    ```
    """

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return lsep_loss(logits, labels)
