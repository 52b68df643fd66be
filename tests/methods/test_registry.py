"""Finding methods by name."""

import sys

import pytest

from kinema.app.catalogue import explain_method, list_methods
from kinema.errors import RecipeError
from kinema.methods.base import Method
from kinema.methods.registry import METHODS, Entry, find_method, is_outside
from kinema.methods.sts import STS


@pytest.mark.parametrize("name", METHODS)
def test_every_registered_method_is_found_under_its_paper(name):
    cls = find_method(name)
    assert issubclass(cls, Method) and cls.__name__ == METHODS[name].cls
    assert METHODS[name].title and METHODS[name].paper and METHODS[name].family and METHODS[name].domain
    assert cls.__doc__ and "Args:" in cls.__doc__
    assert not is_outside(name)


def test_sts_is_sts():
    assert find_method("sts") is STS


def test_an_unknown_name_gets_a_proposal_and_the_way_to_ones_own():
    with pytest.raises(
        RecipeError, match=r"no method is called 'st'. Did you mean 'sts'\?.*named package\.module:Class"
    ):
        find_method("st")


def test_a_class_from_outside_is_found(tmp_path, monkeypatch):
    (tmp_path / "registry_example.py").write_text(
        "from kinema.methods.base import Method\nclass Mine(Method):\n    pass\nclass Other:\n    pass\nvalue = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = find_method("registry_example:Mine")
    assert issubclass(found, Method) and found.__name__ == "Mine" and is_outside("registry_example:Mine")
    for wrong in ("Other", "value", "Missing", ""):
        with pytest.raises(RecipeError, match=rf"is no kinema method: registry_example must define class {wrong}\("):
            find_method(f"registry_example:{wrong}")
    sys.modules.pop("registry_example")


@pytest.mark.parametrize("name", ["no_such_module:Mine", ":Mine", "no.such.package:Mine"])
def test_a_module_that_cannot_be_imported_is_explained(name):
    with pytest.raises(RecipeError, match=rf"'{name}' cannot be imported: .*PYTHONPATH=folder"):
        find_method(name)


def test_the_taxonomy_is_shown(capsys):
    list_methods()
    lines = [line.strip() for line in capsys.readouterr().out.split("\n")]
    place = next(number for number, line in enumerate(lines) if line.startswith("sts "))
    assert lines[place + 1 : place + 3] == ["non-contrastive, spatio-temporal", METHODS["sts"].paper]
    explain_method("mas")
    assert capsys.readouterr().out.split("\n")[1] == "non-contrastive, spatio-temporal"
    assert Entry("module", "Class", "title", "").kind == ""


def test_the_taxonomy_is_that_of_the_field():
    """Kumar et al.'s study of six pretexts, two for each domain."""
    found = {name: (METHODS[name].family, METHODS[name].domain) for name in METHODS}
    for domain, plain, contrastive in (
        ("spatial", "rotnet", "cvrl"),
        ("temporal", "vcop", "tdl"),
        ("spatio-temporal", "prp", "rspnet"),
    ):
        assert found[plain] == ("non-contrastive", domain) and found[contrastive] == ("contrastive", domain)
