"""Clips with structure, and both ways through the code: leaving out what is not drawn, and masking it."""

import pytest
import torch

from kinema.views import affine, colour_exact, erasing, filters, masking, photometric, rand_augment, resampling, tables
from tests.views.pictures import picture_clips

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
USERS = (affine, colour_exact, erasing, filters, masking, photometric, rand_augment, resampling, tables)


@pytest.fixture(params=DEVICES)
def device(request):
    """Every device of this machine."""
    return request.param


@pytest.fixture
def masked(monkeypatch):
    """Calling it makes the CPU take the way of the other devices, which never looks at a drawn number."""

    def switch():
        for module in USERS:
            if hasattr(module, "skips"):
                monkeypatch.setattr(module, "skips", lambda clips: False)

    return switch


@pytest.fixture
def clips():
    """Three clips of two frames, 24 x 32."""
    return picture_clips()
