"""Packed stores: frames or flow at the training size, in few large files that are read by number."""

from kinema.data.packed.estimating import Estimate, estimate
from kinema.data.packed.finishing import Finished, finish, verify
from kinema.data.packed.layout import MANIFEST_FILE, Layout, finished_manifest, is_store, read_layout
from kinema.data.packed.planning import Plan, Settings, plan_store
from kinema.data.packed.reading import Store, open_store
from kinema.data.packed.rows import pointer, read_row, read_row_sizes
from kinema.data.packed.writing import Job, check_room, claim, stored_bytes, write_files

__all__ = [
    "MANIFEST_FILE",
    "Estimate",
    "Finished",
    "Job",
    "Layout",
    "Plan",
    "Settings",
    "Store",
    "check_room",
    "claim",
    "estimate",
    "finish",
    "finished_manifest",
    "is_store",
    "open_store",
    "plan_store",
    "pointer",
    "read_layout",
    "read_row",
    "read_row_sizes",
    "stored_bytes",
    "verify",
    "write_files",
]
