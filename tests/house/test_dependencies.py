"""What an installation brings, and what `import kinema` loads."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from tools import distributions

ROOT = Path(__file__).parents[2]
HEAVY = ("av", "cv2", "sklearn", "scipy", "pyarrow", "rich", "PIL", "transformers", "torchvision", "kornia")


def stated() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    found = [Requirement(text) for text in project["dependencies"] + extras["dev"]]
    # The dev extra may hold other extras of this project by name: "kinema[hf]".
    nested = [
        text
        for requirement in found
        if requirement.name == "kinema"
        for extra in requirement.extras
        for text in extras[extra]
    ]
    return [requirement for requirement in found if requirement.name != "kinema"] + list(map(Requirement, nested))


def test_few_distributions_beyond_torch():
    names = distributions.beyond_torch()
    assert {"numpy", "av", "pyarrow"} <= set(names)
    assert len(names) <= distributions.LIMIT, names


def test_the_closure_follows_requirements_and_markers():
    assert {"scikit-learn", "joblib", "threadpoolctl", "numpy"} <= distributions.closure(["scikit-learn"])
    assert distributions.closure(["scikit-learn ; python_version < '3'"]) == set()


def test_import_is_light():
    code = f"import sys, kinema; print([name for name in {HEAVY} if name in sys.modules])"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_direct_dependency_is_pinned_within_its_range():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(re.split("==", line) for line in lines if line and not line.startswith("#"))
    assert sorted(pins, key=str.lower) == sorted((requirement.name for requirement in stated()), key=str.lower)
    for requirement in stated():
        assert requirement.specifier.contains(pins[requirement.name]), requirement
