"""`kinema compare`: read stored evaluations of several runs, print the tables, draw the page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kinema.evaluation.across import Across, compare_across
from kinema.evaluation.across_tables import across_as_markdown, across_as_rich
from kinema.evaluation.evaluated import read_evaluated


def compare_to_screen(
    folders: Sequence[Path],
    *,
    protocols: Sequence[str] = (),
    name: str | None = None,
    out: Path | None = None,
) -> Across:
    """Compare runs and print the tables.

    Args:
        folders: runs, folders of embeddings, or evaluations.
        protocols: those to compare; by default all that every run has.
        name: of the evaluations inside the runs; by default the one that all have.
        out: a page to write, .html, or the same tables as .md.
    """
    evaluated = read_evaluated(folders, name)
    across = compare_across(evaluated, protocols)
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 150).print(across_as_rich(across))
    if out is not None:
        _write(across, out, [one.folder for one in evaluated])
        print(f"page: {out}")
    return across


def _write(across: Across, out: Path, folders: Sequence[Path]) -> None:
    from kinema.report.comparison import write_comparison
    from kinema.training.files import write_atomic

    if out.suffix.lower() == ".md":
        write_atomic(out, across_as_markdown(across))
    else:
        write_comparison(across, out, folders)
