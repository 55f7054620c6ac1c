"""Films: their frames, their scenes, and the moments that fit a query."""

from babelclip.video.cuts import CutSettings
from babelclip.video.decoding import Decoding, Video, VideoInfo, open_video
from babelclip.video.errors import VideoError
from babelclip.video.frames import Frame
from babelclip.video.sampling import Sample, Sampling, sample_frames
from babelclip.video.scenes import Scene, find_scenes

__all__ = [
    "CutSettings",
    "Decoding",
    "Frame",
    "Sample",
    "Sampling",
    "Scene",
    "Video",
    "VideoError",
    "VideoInfo",
    "find_scenes",
    "open_video",
    "sample_frames",
]
