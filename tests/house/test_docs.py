"""Documentation that cannot rot: commands, links, imports, named tests, recipe heads and versions are real."""

import ast
import importlib
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import kinema
from kinema.methods.registry import METHODS
from kinema.training.recipe import recipe_keys, resolve_key
from tools import guard

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
RECIPES = sorted((ROOT / "src" / "kinema" / "recipes").glob("*/*.yaml"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def commands(text: str) -> list[list[str]]:
    """Every `kinema COMMAND …` of a page, in words: lines of code blocks, and inline code that has more than a name."""
    lines = [line for _, block in FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    lines += [span.replace("\n", " ") for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", FENCE.sub("", text))]
    found = [re.search(r"^\s*(?:\$ |# Command: +)?(?:\.venv/bin/)?kinema +([a-z].*)", line) for line in lines]
    return [shlex.split(match[1], comments=True) for match in found if match]


@pytest.fixture(scope="module")
def options_of():
    """A function: the options that `kinema COMMAND --help` prints."""
    cli = importlib.import_module("kinema.cli")

    def options(command: str, capsys) -> set[str]:
        with pytest.raises(SystemExit) as done:
            cli.main([command, "--help"])
        shown = capsys.readouterr().out
        assert done.value.code == 0, f"there is no command 'kinema {command}'"
        return set(re.findall(r"(?<!\w)--?[a-z][\w-]*", shown))

    return options


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_their_options_exist(page, options_of, capsys):
    for command, *words in commands(page.read_text(encoding="utf-8").replace("my-method", "sts")):
        known = options_of(command, capsys)
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known, f"kinema {command} has no {used - known}"
        if command == "pretrain" and words and words[0] in METHODS:
            for override in filter(re.compile(r"[a-z][\w.]*=").match, words):
                resolve_key(override.partition("=")[0], recipe_keys(words[0]))


def test_commands_are_found_in_blocks_and_inline():
    text = (
        'Use `kinema` or\n`kinema scan videos/ -o x`.\n```bash\n$ kinema pretrain sts \\\n  --data "a b"  # why\n```\n'
    )
    assert commands(text) == [["pretrain", "sts", "--data", "a b"], ["scan", "videos/", "-o", "x"]]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_resolve(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text)
    for target in {first or second for first, second in targets}:
        file, _, anchor = target.partition("#")
        if ":" in file:
            continue
        linked = page.parent / file if file else page
        assert linked.exists(), f"{name(page)} links to {target}"
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), f"{name(page)} links to {target}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_blocks_parse_and_import_what_exists(page):
    for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        for node in ast.walk(ast.parse(block)) if language == "python" else ():
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("kinema."):
                module = importlib.import_module(str(node.module))
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert not missing, f"{name(page)}: {node.module} has no {missing}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_named_tests_exist(page):
    named = re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", page.read_text(encoding="utf-8").replace("my_method", "sts"))
    for file, test in named:
        assert (ROOT / file).exists(), f"{name(page)} names {file}"
        if test:
            assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{name(page)} names {file}::{test}"


@pytest.mark.parametrize("recipe", RECIPES, ids=name)
def test_a_recipe_states_command_cost_and_expected_result(recipe):
    text = recipe.read_text(encoding="utf-8")
    head = re.match(r"(?:#.*\n)+", text)
    assert head, "a recipe begins with a comment"
    for line in ("Command", "Cost", "Expected"):
        assert re.search(rf"^# {line}: +\S", head[0], re.MULTILINE), f"the head has no line '# {line}: …'"
    assert f"kinema pretrain {recipe.parent.name} " in head[0]
    assert f"--recipe {recipe.stem}" in head[0]
    assert isinstance(yaml.safe_load(text), dict)


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    heads = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert project["version"] == citation["version"] == kinema.__version__
    assert project["license"] == citation["license"]
    assert heads[0] == "Unreleased" or heads[0].startswith(project["version"])


def test_no_tracked_file_is_large_or_holds_a_key_or_a_machine_path():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    tracked = [ROOT / file for file in listed.stdout.split("\0") if file]
    assert tracked
    assert [finding for path in tracked if path.is_file() for finding in guard.findings(path)] == []


@pytest.mark.parametrize(
    "content",
    [
        "x" * (guard.LARGEST + 1),
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        "hf_" + "a" * 34,
        'open("/' + 'home/me/video")',
    ],
)
def test_the_guard_finds(tmp_path, content):
    (tmp_path / "file.txt").write_text(content)
    assert len(guard.findings(tmp_path / "file.txt")) == 1


def test_the_guard_lets_ordinary_text_pass(tmp_path):
    (tmp_path / "file.md").write_text("See example.com/home/page, </root>, src/work/x and ~/work.\n")
    assert guard.findings(tmp_path / "file.md") == []
