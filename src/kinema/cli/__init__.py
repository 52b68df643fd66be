"""The command line: each command is a few lines over the functions of the library."""

from kinema.cli.main import build_parser, main, parse

__all__ = ["build_parser", "main", "parse"]
