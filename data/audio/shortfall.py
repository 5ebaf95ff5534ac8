"""Files that hold less than their header states: what there is of them is used, and the rest is recorded."""

from ..listing import ListedClip
from ..rejections import CUT_SHORT, Rejection
from .reading import OpenAudio, describe_shortfall
from .windows import make_rejection


def find_shortfall(clip: ListedClip, audio: OpenAudio) -> Rejection | None:
    """Record what is missing at the end of a clip.

    Args:
        clip ([`ListedClip`]): A clip of a data set.
        audio ([`OpenAudio`]): Its file, open.

    Returns:
        [`Rejection`], *optional*: Of the kind "cut short"; `None` if the whole clip can be decoded, or nothing of it,
        which makes it an empty clip.
    """
    reason, rate = describe_shortfall(audio), audio.sampling_rate
    if reason is None or not audio.num_samples:
        return None
    if clip.end_s is not None and clip.end_s * rate <= audio.num_samples:
        return None
    if (clip.start_s or 0.0) * rate >= audio.num_samples:
        return None
    return make_rejection(clip, clip.id, CUT_SHORT, reason)
