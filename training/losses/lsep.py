"""Multi-label ranking loss in log-sum-exp form: AudioFormer (arXiv 2308.07221), Eq. 7."""

import torch
from torch import nn

from audioformer.modeling_audioformer.classification_loss import lsep_loss


class LSEPLoss(nn.Module):
    r"""
    Log-sum-exp pairwise loss (LSEP), the multi-label counterpart of softmax cross-entropy: within a clip every class
    that is present should score above every class that is absent. Also known as the smooth pairwise ranking (hinge)
    loss, as the unified loss of Circle loss without margin and scale, and as the multi-label softmax loss, there with
    a fixed threshold score of its own. With the negatives `N` and the positives `P` of a clip, and `s` its logits:

        log(1 + sum_{j in N} e^{s_j} * sum_{i in P} e^{-s_i}) = softplus(lse_{j in N} s_j + lse_{i in P} (-s_i))

    The mean over the clips of a batch is returned, computed in the second form: no pair of classes is ever formed,
    and no exponential overflows. Logits of less than 32 bits are raised to float32 first; float64 stays float64.
    A clip without positives, or without negatives, has no pair to rank: it adds exactly 0 to the sum, passes back a
    gradient of exactly 0, and still counts in the mean.

    Args:
        None. The loss has no settings.

    References:
        - AudioFormer: Audio Transformer learns audio feature representations from discrete acoustic codes,
          arXiv 2308.07221, section 3.3.1, Eq. 7.
        - Y. Li, Y. Song, J. Luo: Improving pairwise ranking for multi-label image classification, CVPR 2017.
        - Y. Sun et al.: Circle loss: A unified perspective of pair similarity optimization, CVPR 2020, Eq. 1.

    Requirements:
        1. Every class is judged in every clip: an entry of 0 means absent, not unknown.
        2. Labels are hard. Mixed clips take the union of their labels; label smoothing has no meaning in a ranking.

    Inputs:
        | argument | shape | values |
        | --- | --- | --- |
        | `logits` | `(batch_size, num_labels)` | floating point, any size: one score a class, before any sigmoid |
        | `labels` | `(batch_size, num_labels)` | multi-hot, 0 or 1, of any dtype (bool, integer or floating point) |

        Returns a scalar, float32 (float64 for float64 logits).

        Raises `ValueError` for logits that are not floating point or not of two dimensions, an empty batch, labels of
        another shape, and labels other than 0 and 1. The last is checked on every call and costs one wait for the
        device; it is left out while `torch.compile` traces, so that the graph stays whole. Labels then count as
        positive where they equal 1.

    Recommendations:
        - Rankings need positives: sample unbalanced sets by class weight, as the paper does for AudioSet.
        - The loss ranks the classes of a clip and is blind to a constant added to all of them: a sigmoid of these
          logits is no probability before it is calibrated on held-out clips.
        - Under gradient accumulation, and over processes of equal batch sizes, the mean of the parts is the loss of
          the whole: clips do not see each other.

    Relations:
        - With exactly one positive a clip it equals `torch.nn.CrossEntropyLoss`.
        - `torch.nn.BCEWithLogitsLoss` judges each class alone (Eq. 6): calibrated, but swayed by the many negatives.
        - [`MultiPositiveContrastiveLoss`] has the same form, with scaled cosine similarities in place of logits.

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
