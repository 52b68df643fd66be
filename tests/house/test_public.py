"""The public face of the package and the shape of its code; ruff and mypy check what they can on their own."""

import ast
import importlib
from pathlib import Path

import pytest

from tools import measure_style

ROOT = Path(__file__).parents[2]
PACKAGES = sorted((ROOT / "src" / "kinema").glob("*/__init__.py"))


@pytest.mark.parametrize("measure", measure_style.measure().measures(), ids=lambda measure: measure.name)
def test_shape_of_the_code(measure):
    assert measure.holds, f"{measure}; `python tools/measure_style.py` names the places"


def test_a_function_is_measured_without_its_docstring_and_an_elif_is_no_deeper():
    source = '''
def example(a: int, *, b: int) -> int:
    """One.

    Two.
    """
    for _ in range(a):
        if a:
            return b
        elif b:
            with open("x"):
                pass
    def inner():
        while True:
            for _ in []:
                if a:
                    if b:
                        pass
    return a
'''
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef)
    assert measure_style.length(node) == 14
    assert measure_style.depth(node) == 3


def test_what_breaks_a_limit_is_found(tmp_path):
    body = "\n".join(f"    x{number} = {number}" for number in range(601))
    (tmp_path / "long.py").write_text(f"def long(a, b, c, d, e):\n{body}\n")
    broken = {measure.name for measure in measure_style.measure(tmp_path).measures() if not measure.holds}
    assert broken == {
        "lines of a file, median",
        "lines of a file, 90th percentile",
        "lines of a file, longest",
        "lines of a function, median",
        "lines of a function, 90th percentile",
        "functions above 60 lines, %",
        "functions with over 4 positional params, %",
        "functions fully annotated, %",
    }


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: path.parent.name)
def test_a_package_names_what_it_offers_in_all(path):
    module = importlib.import_module(f"kinema.{path.parent.name}")
    imported = {
        alias.asname or alias.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{module.__name__}.")
        for alias in node.names
    }
    offered = getattr(module, "__all__", [])
    assert all(hasattr(module, name) for name in offered)
    assert imported <= set(offered)
