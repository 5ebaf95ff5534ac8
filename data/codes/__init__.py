"""From listed clips to files of codes: shard by shard, on any number of processes, any of which may be killed."""

from ..shards import ClipShards, shards_of_listing
from .run import encode_shards, finish_if_whole
from .settings import EncodingSettings

__all__ = ["ClipShards", "EncodingSettings", "encode_shards", "finish_if_whole", "shards_of_listing"]
