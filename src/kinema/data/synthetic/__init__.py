"""Synthetic worlds: real video files whose class is the motion, with the truth beside them."""

from kinema.data.synthetic.camera import CAMERA_MOTIONS
from kinema.data.synthetic.facts import Facts
from kinema.data.synthetic.film import Film, render_film
from kinema.data.synthetic.long import LongWorld
from kinema.data.synthetic.motion import MOTIONS
from kinema.data.synthetic.persons import PARTS, PersonWorld
from kinema.data.synthetic.render import SyntheticClip, render_clip
from kinema.data.synthetic.scene import Scene, World, draw_scene
from kinema.data.synthetic.skeleton import ACTIONS, JOINTS
from kinema.data.synthetic.truth import Truth, read_truth, render_truth
from kinema.data.synthetic.world import Extras, compose, describe, render_world, write_clip

__all__ = [
    "ACTIONS",
    "CAMERA_MOTIONS",
    "JOINTS",
    "MOTIONS",
    "PARTS",
    "Extras",
    "Facts",
    "Film",
    "LongWorld",
    "PersonWorld",
    "Scene",
    "SyntheticClip",
    "Truth",
    "World",
    "compose",
    "describe",
    "draw_scene",
    "read_truth",
    "render_clip",
    "render_film",
    "render_truth",
    "render_world",
    "write_clip",
]
