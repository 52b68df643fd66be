"""Finding what is similar among stored vectors."""

from kinema.search.exact import ExactIndex

__all__ = ["ExactIndex"]
