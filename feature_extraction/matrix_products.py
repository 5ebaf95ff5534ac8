"""Float32 matrix products whose rows do not depend on how many other rows there are."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

MAX_INNER_SIZE = 512
"""Terms that are summed in one call. Libraries cut longer sums at places that depend on the number of rows."""


MIN_BATCHED_SIZE = 64
"""Size of matrices from which on torch leaves a batch of products to the library, whatever the number of rows."""


def add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Add `left` times `right` to `total`, in place.

    On a CPU a row of the result has the same bits whatever the other rows are and however many there are. Elsewhere
    that holds for products of one shape.

    Args:
        total (`torch.Tensor` of shape `(batch_size, num_rows, out_size)`): Changed in place.
        left (`torch.Tensor` of shape `(batch_size, num_rows, in_size)`): Left factors.
        right (`torch.Tensor` of shape `(in_size, out_size)` or `(batch_size, in_size, out_size)`): Right factor of
            all of them, or of each.
    """
    batch_size, num_rows, out_size = total.shape
    right = right.expand(batch_size, -1, -1)
    in_size = right.shape[1]
    is_regular = num_rows > 1 and MIN_BATCHED_SIZE <= in_size <= MAX_INNER_SIZE and out_size >= MIN_BATCHED_SIZE
    if total.device.type != "cpu" or (batch_size > 1 and is_regular):
        total.baddbmm_(left, right)
        return
    for total_rows, rows, factor in zip(total, left, right, strict=True):
        for start in range(0, in_size, MAX_INNER_SIZE):
            stop = start + MAX_INNER_SIZE
            _add_rows(total_rows, rows[:, start:stop], factor[start:stop])


def _add_rows(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    if len(total) == 1:
        # A single row would be multiplied by another routine, with another order of the sums.
        total.copy_(torch.addmm(total.expand(2, -1), left.expand(2, -1), right)[:1])
    else:
        total.addmm_(left, right)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Disable autocast, TF32 and bfloat16 products, so that codes do not depend on the caller's settings.

    All of the caller's settings are as before afterwards. Nothing but the precision is touched: cuDNN stays on.
    """
    # torch's older switches (`allow_tf32`, `set_float32_matmul_precision`) raise once the newer ones were used, as
    # `transformers.utils.enable_tf32` does. Those of single operations work either way.
    backends = ["mkldnn"] if device.type == "cpu" else ["mkldnn", device.type]
    operations = [(backend, operation) for backend in backends for operation in ("matmul", "conv", "rnn")]
    get_precision, set_precision = torch._C._get_fp32_precision_getter, torch._C._set_fp32_precision_setter
    if device.type not in ("cpu", "cuda"):
        operations = []
    before = {operation: get_precision(*operation) for operation in operations}
    try:
        for operation in operations:
            set_precision(*operation, "ieee")
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for operation, precision in before.items():
            # What followed from a more general setting must go on following it.
            set_precision(*operation, "none")
            if get_precision(*operation) != precision:
                set_precision(*operation, precision)
