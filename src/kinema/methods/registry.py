"""Methods by name: kinema's own, and any class on the import path as `package.module:Class`."""

from __future__ import annotations

import importlib
import inspect
from typing import Literal, NamedTuple

from kinema.errors import RecipeError, suggest
from kinema.methods.base import Method


class Entry(NamedTuple):
    """One line of the registry: the module that holds the class, the class, and what `kinema methods` prints.

    Attributes:
        module: that holds the class.
        cls: name of the class.
        title: what the pretext asks, in one line.
        paper: authors, venue, year, number.
        family: "contrastive" compares samples, "non-contrastive" tells labels made from one, "generative" makes pixels.
        domain: what the pretext changes: "spatial", "temporal" or "spatio-temporal" (Kumar et al.'s taxonomy).
    """

    module: str
    cls: str
    title: str
    paper: str
    family: Literal["contrastive", "non-contrastive", "generative", ""] = ""
    domain: Literal["spatial", "temporal", "spatio-temporal", ""] = ""

    @property
    def kind(self) -> str:
        """Place in the taxonomy, in words; empty where none is given."""
        return ", ".join(filter(None, (self.family, self.domain)))


METHODS: dict[str, Entry] = {
    "child-view": Entry(
        "kinema.methods.child_view",
        "ChildView",
        "Paint the nine tenths of a clip that are hidden, anywhere in space and time",
        "Orhan, Wang et al., CogSci 2024 (arXiv 2402.00300)",
        "generative",
        "spatio-temporal",
    ),
    "cropmae": Entry(
        "kinema.methods.cropmae",
        "CropMAE",
        "Complete a nearly hidden crop with the help of another crop of the same picture",
        "Eymael, Vandeghen et al., ECCV 2024 (arXiv 2403.17823)",
        "generative",
        "spatial",
    ),
    "crossvideomae": Entry(
        "kinema.methods.crossvideomae",
        "CrossVideoMAE",
        "Fill in hidden parts of clips and of their frames; clips and frames recognise each other",
        "Ahamed, Gunawardhana et al., 2025 (arXiv 2502.07811)",
        "generative",
        "spatio-temporal",
    ),
    "cvrl": Entry(
        "kinema.methods.cvrl",
        "CVRL",
        "Tell two strongly changed clips of one video from the clips of all others",
        "Qian, Meng et al., CVPR 2021 (arXiv 2008.03800)",
        "contrastive",
        "spatial",
    ),
    "lv-mae": Entry(
        "kinema.methods.lv_mae",
        "LVMAE",
        "Fill in hidden segments of long videos, one embedding each",
        "Naiman, Ben-Baruch et al., ICCV 2025 (arXiv 2504.03501)",
        "generative",
        "temporal",
    ),
    "mas": Entry(
        "kinema.methods.mas",
        "MAS",
        "Regress statistics of motion and appearance: the predecessor of STS",
        "Wang, Jiao et al., CVPR 2019 (arXiv 1904.03597)",
        "non-contrastive",
        "spatio-temporal",
    ),
    "prp": Entry(
        "kinema.methods.prp",
        "PRP",
        "Tell at which rate a clip is played, and draw it in slow motion",
        "Yao, Liu et al., CVPR 2020 (arXiv 2006.11476)",
        "non-contrastive",
        "spatio-temporal",
    ),
    "rotnet": Entry(
        "kinema.methods.rotnet",
        "RotNet",
        "Tell by how many quarter turns a clip was turned",
        "Jing, Yang et al., 2018 (arXiv 1811.11387)",
        "non-contrastive",
        "spatial",
    ),
    "rspnet": Entry(
        "kinema.methods.rspnet",
        "RSPNet",
        "Tell clips at the same speed from clips at another, and videos from each other",
        "Chen, Huang et al., AAAI 2021 (arXiv 2011.07949)",
        "contrastive",
        "spatio-temporal",
    ),
    "siammae": Entry(
        "kinema.methods.cropmae",
        "SiamMAE",
        "Complete a nearly hidden frame with the help of an earlier frame of the same video",
        "Gupta, Wu et al., NeurIPS 2023 (arXiv 2305.14344)",
        "generative",
        "spatio-temporal",
    ),
    "sts": Entry(
        "kinema.methods.sts",
        "STS",
        "Predict statistics of motion and appearance: where, which way, when, which colour",
        "Wang, Jiao et al., TPAMI 2021 (arXiv 2008.13426)",
        "non-contrastive",
        "spatio-temporal",
    ),
    "tdl": Entry(
        "kinema.methods.tdl",
        "TDL",
        "Tell a moment of a video from another moment of the same video, and from other videos",
        "Wang, Lin, Ma, Yuen, 2020 (arXiv 2008.02129)",
        "contrastive",
        "temporal",
    ),
    "vcop": Entry(
        "kinema.methods.vcop",
        "VCOP",
        "Tell in which order clips of a video were shown",
        "Xu, Xiao et al., CVPR 2019",
        "non-contrastive",
        "temporal",
    ),
    "videomae": Entry(
        "kinema.methods.videomae",
        "VideoMAE",
        "Fill in what tubes through nine tenths of a clip hide",
        "Tong, Song et al., NeurIPS 2022 (arXiv 2203.12602)",
        "generative",
        "spatio-temporal",
    ),
}
"""Adding a method adds its line here."""

READY: dict[str, Entry] = {
    "imported": Entry("kinema.methods.imported", "Imported", "Published weights, as they are", "")
}
"""Networks that come trained: run folders may hold them, training and the list of methods do not."""


def find_method(name: str) -> type[Method]:
    """The class of a method: a registered name, or `package.module:Class` for one from outside.

    Raises:
        RecipeError: unknown name, module that cannot be imported, or a class that is no `Method`.
    """
    if ":" in name:
        return _outside(name)
    if name not in METHODS | READY:
        raise RecipeError(
            f"no method is called '{name}'.{suggest(name, METHODS)} A method of your own is named package.module:Class."
        )
    entry = (METHODS | READY)[name]
    cls: type[Method] = getattr(importlib.import_module(entry.module), entry.cls)
    return cls


def is_outside(name: str) -> bool:
    """True for `package.module:Class`, whose import runs code that is not kinema's."""
    return ":" in name


def _outside(name: str) -> type[Method]:
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise RecipeError(
            f"the method '{name}' cannot be imported: {error}. The module must be on the Python path: "
            "install its package, or run with PYTHONPATH=folder."
        ) from error
    cls = getattr(module, class_name, None)
    if not (inspect.isclass(cls) and issubclass(cls, Method)):
        raise RecipeError(f"'{name}' is no kinema method: {module_name} must define class {class_name}(kinema.Method)")
    return cls
