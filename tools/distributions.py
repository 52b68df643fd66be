"""List what `pip install kinema` brings beyond what `pip install torch` brings.

Run `python tools/distributions.py`; the test `tests/house/test_dependencies.py` holds the count to its limit. What is
walked is the metadata of the installed distributions, begun with the dependencies that pyproject.toml states.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
LIMIT = 25


def beyond_torch() -> list[str]:
    """Names of the distributions that kinema needs, without torch and what torch itself needs; sorted.

    Raises:
        importlib.metadata.PackageNotFoundError: when one of them is not installed.
    """
    with PROJECT.open("rb") as file:
        stated = tomllib.load(file)["project"]["dependencies"]
    return sorted(closure(stated) - closure(["torch"]))


def closure(requirements: Iterable[str]) -> set[str]:
    """Canonical names of all distributions that the requirements lead to on this platform, their extras included."""
    found: set[str] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        found.add(name)
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                waiting += [(Requirement(text), wanted) for text in metadata.requires(name) or ()]
    return found


if __name__ == "__main__":
    names = beyond_torch()
    print(*(f"{name}=={metadata.version(name)}" for name in names), sep="\n")
    print(f"{len(names)} distributions beyond torch's own (limit {LIMIT})")
