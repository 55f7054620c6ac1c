"""Films: their frames, their scenes, and the moments that fit a query."""

from babelclip.video.decoding import Decoding, Video, VideoInfo, open_video
from babelclip.video.errors import VideoError
from babelclip.video.frames import Frame

__all__ = ["Decoding", "Frame", "Video", "VideoError", "VideoInfo", "open_video"]
