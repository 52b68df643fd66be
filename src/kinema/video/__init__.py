"""Files to frames: what is in a video file, exact frames by index or time, and optical flow between them."""

from kinema.video.decode import read_frames
from kinema.video.flow import PRESETS, compute_flow, decode_flow, encode_flow
from kinema.video.probe import VideoInfo, content_hash, probe

__all__ = [
    "PRESETS",
    "VideoInfo",
    "compute_flow",
    "content_hash",
    "decode_flow",
    "encode_flow",
    "probe",
    "read_frames",
]
