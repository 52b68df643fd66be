"""Published weights in kinema's form: recognise a file's layout, rename, check, load.

    converted = convert(read_weights("r3d_18.pth"))
    network = build_network(converted.backbone, **converted.options)
    load_weights(network, "r3d_18.pth")

A transformer that goes on learning starts from them with `start_from`.

Every tensor must find its place, or an error lists those that do not; heads and second copies of the network (momentum
encoders) are left out and named. Files are read without executing anything that they hold.
"""

from kinema.backbones.converters.convert import Converted, convert, load_weights
from kinema.backbones.converters.files import read_config, read_normalisation, read_weights
from kinema.backbones.converters.layout import Layout
from kinema.backbones.converters.layouts import LAYOUTS
from kinema.backbones.converters.start import Started, start_from
from kinema.backbones.converters.tensorflow import c3d_light_head

__all__ = [
    "LAYOUTS",
    "Converted",
    "Layout",
    "Started",
    "c3d_light_head",
    "convert",
    "load_weights",
    "read_config",
    "read_normalisation",
    "read_weights",
    "start_from",
]
