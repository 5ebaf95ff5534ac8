"""What is computed from every frame of many clips, a limited number of frames at once."""

from collections.abc import Callable, Sequence

import torch

CHUNK = 1024
"""Frames that are computed at once: what they take stays in the cache of a CPU."""


def compute_frames(
    clips: Sequence[torch.Tensor], function: Callable[[torch.Tensor], torch.Tensor], num_values: int
) -> list[torch.Tensor]:
    """
    Apply a function to the frames of clips of any lengths, without padding them.

    Args:
        clips (sequence of `torch.Tensor` of shape `(num_frames, frame_length)`):
            Frames of each clip, which may be a view of its waveform. All on one device.
        function (function):
            Takes `(num_frames, frame_length)` and returns `(num_frames, num_values)`; each row of the result depends
            on the same row of the input alone.
        num_values (`int`):
            Number of values per frame.

    Returns:
        `list[torch.FloatTensor]`: Per clip an array of shape `(num_frames, num_values)`.
    """
    counts = [len(clip) for clip in clips]
    computed = torch.empty(sum(counts), num_values, device=clips[0].device)
    start = 0
    waiting: list[torch.Tensor] = []

    def flush() -> int:
        if not waiting:
            return start
        rows = function(waiting[0] if len(waiting) == 1 else torch.cat(waiting))
        computed[start : start + len(rows)] = rows
        waiting.clear()
        return start + len(rows)

    for clip in clips:
        for part in clip.split(CHUNK):
            if sum(map(len, waiting)) + len(part) > CHUNK:
                start = flush()
            waiting.append(part)
    flush()
    return list(computed.split(counts))
