"""Imports point left only: the layers of the package, read from the source without importing it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "kinema"
LAYERS = (
    "errors · randomness ← video · metrics ← data ← views · targets · losses · modules ← backbones ← methods ← training"
    " ← evaluation ← search · report · benchmark ← app ← cli"
)
RANKS = {part: rank for rank, layer in enumerate(LAYERS.split(" ← ")) for part in layer.split(" · ")}
# The package itself and `python -m kinema` may show everything; the parts take nothing from it but `__version__`.
TOP = dict.fromkeys(("__init__", "__main__"), len(LAYERS))


def part_of(path: Path) -> str:
    """The part that a file of the package belongs to: `video/probe.py` to `video`, `errors.py` to `errors`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(source: str) -> Iterator[tuple[int, str]]:
    """Line and part of every import of kinema in `source`, inside functions and type-checking blocks too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{alias.name}" for alias in node.names if alias.name != "__version__"]
        else:
            continue
        for module in modules:
            package, _, rest = module.partition(".")
            if package == "kinema":
                part = rest.partition(".")[0]
                yield node.lineno, part if part in RANKS else "__init__"


def violations(part: str, source: str) -> list[str]:
    """Every import of `source`, a file of `part`, that does not point left."""
    ranks = RANKS | TOP
    return [
        f"{part} imports {imported} in line {line}"
        for line, imported in imported_parts(source)
        if imported != part and not ranks[imported] < ranks[part]
    ]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_left(path):
    assert violations(part_of(path), path.read_text(encoding="utf-8")) == []


def test_every_part_stands_in_a_layer():
    parts = {part_of(path) for path in PACKAGE.rglob("*.py")}
    assert parts <= RANKS.keys() | TOP.keys()


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("video", "from kinema.data.manifest import Manifest"),
        ("video", "def read():\n    import kinema.methods.base"),
        ("data", "from kinema import training"),
        ("losses", "from kinema.targets.statistics import partition"),
        ("training", "if TYPE_CHECKING:\n    from kinema.evaluation import rows"),
        ("errors", "from kinema.randomness import Key"),
        ("report", "from kinema import pretrain"),
    ],
)
def test_an_import_that_points_right_or_sideways_is_caught(part, source):
    assert len(violations(part, source)) == 1


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("video", "from kinema.errors import VideoError"),
        ("data", "from kinema.data.index import Index"),
        ("training", "from kinema import __version__, randomness"),
        ("__init__", "from kinema.cli import main"),
        ("cli", "import torch, kinema.report.page"),
    ],
)
def test_an_import_that_points_left_passes(part, source):
    assert violations(part, source) == []


def test_the_architecture_page_states_the_same_layers():
    page = ROOT / "docs" / "architecture.md"
    if not page.exists():
        pytest.skip("docs/architecture.md is not written yet")
    assert LAYERS in re.sub(r"\s+", " ", page.read_text(encoding="utf-8"))
