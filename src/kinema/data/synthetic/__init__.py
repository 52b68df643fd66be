"""Synthetic worlds: real video files whose class is the motion, with the truth beside them."""

from kinema.data.synthetic.motion import MOTIONS
from kinema.data.synthetic.render import SyntheticClip, render_clip
from kinema.data.synthetic.scene import Scene, World, draw_scene
from kinema.data.synthetic.world import render_world, write_clip

__all__ = ["MOTIONS", "Scene", "SyntheticClip", "World", "draw_scene", "render_clip", "render_world", "write_clip"]
