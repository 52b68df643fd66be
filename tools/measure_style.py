"""Measure the shape of the code: lengths, nesting, parameters and annotations, each beside its limit.

Run `python tools/measure_style.py [folder]`; the test `tests/house/test_public.py` holds the package to these limits.
Docstrings are not counted here: ruff demands one on every public name.

A file's length is its lines; a function's is its lines without its docstring; nesting counts the compound statements
(`if`, `for`, `while`, `with`, `try`, `match`) around the deepest statement of a function, an `elif` being no deeper
than its `if`.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
COMPOUND = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
PACKAGE = Path(__file__).parents[1] / "src" / "kinema"


class Part(NamedTuple):
    """One file, class or function, and one number about it."""

    place: str
    value: int


@dataclass(frozen=True)
class Measure:
    """One line of the report: a number, and the limit that it may not pass."""

    name: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        sign = "at least" if self.at_least else "at most"
        return f"{'ok ' if self.holds else 'BAD'} {self.name:<44} {self.value:7.1f}   {sign} {self.limit:g}"


@dataclass(frozen=True)
class Shape:
    """Everything measured, part by part; `measures` condenses it."""

    files: tuple[Part, ...]
    methods: tuple[Part, ...]
    lengths: tuple[Part, ...]
    depths: tuple[Part, ...]
    positionals: tuple[Part, ...]
    unannotated: tuple[Part, ...]

    def measures(self) -> tuple[Measure, ...]:
        """The numbers of the house style, each with its limit."""
        files, lengths = _values(self.files), _values(self.lengths)
        return (
            Measure("lines of a file, median", statistics.median(files), 150),
            Measure("lines of a file, 90th percentile", _percentile(files, 0.9), 350),
            Measure("lines of a file, longest", max(files), 600),
            Measure("lines of a function, median", statistics.median(lengths), 10),
            Measure("lines of a function, 90th percentile", _percentile(lengths, 0.9), 35),
            Measure("functions above 60 lines, %", _share(self.lengths, above=60), 3),
            Measure("functions nested deeper than 3, %", _share(self.depths, above=3), 2),
            Measure("public methods of a class, most", max(_values(self.methods), default=0), 15),
            Measure("functions with over 4 positional params, %", _share(self.positionals, above=4), 10),
            Measure("functions fully annotated, %", 100 - _share(self.unannotated, above=0), 95, at_least=True),
        )

    def worst(self, count: int = 3) -> dict[str, list[Part]]:
        """The largest parts of each kind: where to begin."""
        kinds = {
            "files": self.files,
            "functions": self.lengths,
            "nesting": self.depths,
            "positional parameters": self.positionals,
            "not annotated": [part for part in self.unannotated if part.value],
        }
        return {kind: sorted(parts, key=lambda part: -part.value)[:count] for kind, parts in kinds.items()}


def measure(folder: Path = PACKAGE) -> Shape:
    """Measure every Python file below `folder`.

    Raises:
        SyntaxError: when a file is not valid Python.
    """
    files: list[Part] = []
    classes: list[tuple[str, ast.ClassDef]] = []
    functions: list[tuple[str, FunctionNode, bool]] = []
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, str(path))
        place = path.relative_to(folder).as_posix()
        files.append(Part(place, len(text.splitlines())))
        functions += [(f"{place}:{node.lineno} {node.name}", node, bound) for node, bound in _functions(tree)]
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        classes += [(f"{place}:{node.lineno} {node.name}", node) for node in nodes]
    return Shape(
        files=tuple(files),
        methods=tuple(Part(place, _methods(node)) for place, node in classes),
        lengths=tuple(Part(place, length(node)) for place, node, _ in functions),
        depths=tuple(Part(place, depth(node)) for place, node, _ in functions),
        positionals=tuple(Part(place, len(_positional(node)) - bound) for place, node, bound in functions),
        unannotated=tuple(Part(place, int(not _annotated(node, bound))) for place, node, bound in functions),
    )


def length(node: FunctionNode) -> int:
    """Lines of a function from `def` to its end, its docstring left out."""
    first = node.body[0]
    documented = ast.get_docstring(node, clean=False) is not None
    docstring = (first.end_lineno or first.lineno) - first.lineno + 1 if documented else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - docstring


def depth(node: ast.AST) -> int:
    """Compound statements around the deepest statement of `node`; functions and classes inside it are not entered."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, SCOPES):
            is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
            deepest = max(deepest, depth(child) + (isinstance(child, COMPOUND) and not is_elif))
    return deepest


def main(arguments: Sequence[str]) -> int:
    """Print the report for a folder (default: the package); 1 when a limit is passed."""
    shape = measure(Path(arguments[0]) if arguments else PACKAGE)
    measures = shape.measures()
    print(f"{len(shape.files)} files, {sum(_values(shape.files))} lines, {len(shape.lengths)} functions")
    print(*measures, sep="\n")
    for kind, parts in shape.worst().items():
        print(f"{kind}: " + ", ".join(f"{place} ({value})" for place, value in parts))
    return int(not all(entry.holds for entry in measures))


def _functions(tree: ast.AST, *, in_class: bool = False) -> Iterator[tuple[FunctionNode, bool]]:
    """Every function, and whether its first parameter is bound (self, cls)."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, FunctionNode):
            static = any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in child.decorator_list)
            yield child, in_class and not static
        yield from _functions(child, in_class=isinstance(child, ast.ClassDef))


def _methods(node: ast.ClassDef) -> int:
    return sum(isinstance(child, FunctionNode) and not child.name.startswith("_") for child in node.body)


def _positional(node: FunctionNode) -> list[ast.arg]:
    return node.args.posonlyargs + node.args.args


def _annotated(node: FunctionNode, bound: bool) -> bool:
    extra = [argument for argument in (node.args.vararg, node.args.kwarg) if argument]
    arguments = _positional(node)[int(bound) :] + node.args.kwonlyargs + extra
    return node.returns is not None and all(argument.annotation is not None for argument in arguments)


def _values(parts: Sequence[Part]) -> list[int]:
    return [part.value for part in parts]


def _share(parts: Sequence[Part], *, above: int) -> float:
    return 100 * sum(part.value > above for part in parts) / max(len(parts), 1)


def _percentile(values: Sequence[int], fraction: float) -> int:
    return sorted(values)[round(fraction * (len(values) - 1))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
