"""Views: geometry applied to batches on numbers that were drawn before."""

from kinema.views.geometry import centre_crop, crop_flip, crop_flip_flow, draw_crop, draw_flip

__all__ = ["centre_crop", "crop_flip", "crop_flip_flow", "draw_crop", "draw_flip"]
