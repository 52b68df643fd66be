"""Known layouts of data sets on disk; each makes rows of a manifest out of a folder and opens no video."""

from __future__ import annotations

from pathlib import Path

from kinema.data.layouts import actions, lists, pairs, pictures, plain
from kinema.data.layouts.listing import Layout, LayoutOptions, Listing, Source
from kinema.data.layouts.tree import VIDEO_SUFFIXES, Tree, walk
from kinema.errors import DataError, RecipeError, suggest

__all__ = ["AUTO", "LAYOUTS", "VIDEO_SUFFIXES", "LayoutOptions", "Listing", "lay_out"]

AUTO = "auto"

LAYOUTS: dict[str, Layout] = {
    "ucf101": actions.UCF101,
    "hmdb51": actions.HMDB51,
    "kinetics": actions.KINETICS,
    "ssv2": actions.SOMETHING,
    "diving48": actions.DIVING48,
    "davis2016": pictures.DAVIS2016,
    "davis2017": pictures.DAVIS2017,
    "vip": pictures.VIP,
    "jhmdb": pictures.JHMDB,
    "pairs": pairs.PAIRS,
    "lists": lists.LISTS,
    "folders": plain.FOLDERS,
    "webdataset": plain.WEBDATASET,
    "frames": plain.FRAMES,
    "images": plain.IMAGES,
}
"""Every layout by name; what only folders tell comes last, in the order in which it is tried."""

_PLAIN = ("folders", "webdataset", "frames", "images")


def lay_out(source: str | Path, layout: str = AUTO, options: LayoutOptions | None = None) -> Listing:
    """The videos of a folder, or of one tar file, with what the layout tells about them.

    Args:
        source: the folder.
        layout: one of `LAYOUTS`, or "auto" to look for the signs of each; what was recognised, and by which files, is
            the listing's `evidence`.
        options: split, rate, labels, place of the lists.

    Raises:
        RecipeError: an unknown layout, or an option that it does not have.
        DataError: nothing of the layout is there; under "auto", nothing of any, or the signs of several.
    """
    options, source = options or LayoutOptions(), Path(source)
    if layout not in (AUTO, *LAYOUTS):
        raise RecipeError(f"layout='{layout}' is unknown.{suggest(layout, (AUTO, *LAYOUTS))}")
    tree = walk(source) if source.is_dir() else Tree(source.parent, archives=[source.name])
    place = Source(tree, options)
    name = _recognise(place, source) if layout == AUTO else layout
    chosen = LAYOUTS[name]
    for option in ("split", "lists"):
        if getattr(options, option) is not None and option not in chosen.takes:
            raise RecipeError(f"{option}= means nothing to the layout '{name}', which {source} has")
    found = chosen.find(place)
    if not found:
        raise DataError(_nothing(f"no {chosen.title}", chosen.signs, place))
    listing = chosen.read(place, found)
    listing.layout = name
    listing.missing += [(folder, "the folder cannot be opened: permission denied") for folder in tree.closed]
    return listing


def _recognise(place: Source, source: Path) -> str:
    """The one layout whose signs are there."""
    found = {name: signs for name, layout in LAYOUTS.items() if name not in _PLAIN and (signs := layout.find(place))}
    found = {name: signs for name, signs in found.items() if LAYOUTS[name].yields_to not in found}
    for general in ("lists", "pairs"):  # any set's lists may also be read as mere lists
        if len(found) > 1:
            found.pop(general, None)
    if len(found) > 1:
        signs = "; ".join(f"{name} ({', '.join(files[:2])})" for name, files in found.items())
        raise DataError(f"{source} may be several layouts: {signs}. Say which with --layout, or point at one folder")
    known = next(iter(found), None) or next((name for name in _PLAIN if LAYOUTS[name].find(place)), None)
    if known is None:
        signs = f"{plain.FOLDERS.signs}; .tar; {plain.IMAGES.signs}; {plain.FRAMES.signs}"
        raise DataError(_nothing("no video", signs, place))
    return known


def _nothing(what: str, signs: str, place: Source) -> str:
    tree = place.tree
    passed = f"passed over {tree.hidden} hidden and {sum(tree.other.values())} other files"
    return f"{what} found in {place.notes.top} (looked for {signs}; {passed})"
