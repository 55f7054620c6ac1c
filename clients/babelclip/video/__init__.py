"""Films: their frames, their scenes, and the moments that fit a query."""

from babelclip.video.cuts import CutSettings
from babelclip.video.decoding import Decoding, Video, VideoInfo, open_video
from babelclip.video.errors import VideoError
from babelclip.video.finding import FoundMoment, find_moments, merge_hits, search_video
from babelclip.video.frames import Frame
from babelclip.video.indexing import IndexedVideo, index_video
from babelclip.video.moments import Merging, Moment, MomentBatch, embed_moments
from babelclip.video.sampling import Sample, Sampling, sample_frames
from babelclip.video.scenes import Scene, find_scenes

__all__ = [
    "CutSettings",
    "Decoding",
    "FoundMoment",
    "Frame",
    "IndexedVideo",
    "Merging",
    "Moment",
    "MomentBatch",
    "Sample",
    "Sampling",
    "Scene",
    "Video",
    "VideoError",
    "VideoInfo",
    "embed_moments",
    "find_moments",
    "find_scenes",
    "index_video",
    "merge_hits",
    "open_video",
    "sample_frames",
    "search_video",
]
