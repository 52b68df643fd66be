"""What a person sees of a run: one self-contained HTML page with its evidence and its gaps."""

from kinema.report.page import write_report

__all__ = ["write_report"]
