"""Recipes: typed, complete, suggested when misspelt, and the same after a round trip."""

from dataclasses import replace
from typing import Literal

import pytest
import torch

from kinema.errors import RecipeError
from kinema.methods.base import Method
from kinema.methods.registry import METHODS
from kinema.training.recipe import (
    OptimiserConfig,
    Recipe,
    ScheduleConfig,
    load_recipe,
    recipe_keys,
    resolve_key,
    shipped_recipes,
)


class Outside(Method):
    """A method from outside with options of many types."""

    def __init__(
        self,
        *,
        dim: int,
        name: Literal["a", "b"] = "a",
        weights: dict[str, float] | None = None,
        sizes: tuple[int, ...] = (1, 2),
        rate: float | None = None,
    ) -> None:
        super().__init__()
        self.settings = (dim, name, weights, sizes, rate)


OUTSIDE = f"{__name__}:Outside"

SHIPPED = [(method, name) for method in METHODS for name in shipped_recipes(method)]


@pytest.mark.parametrize(("method", "name"), SHIPPED)
def test_every_shipped_recipe_loads_and_builds(method, name):
    recipe = load_recipe(method, name)
    assert recipe.method == method
    with torch.device("meta"):
        built = recipe.build()
    assert sum(p.numel() for p in built.parameters()) > 0
    assert all(p.is_meta for p in built.parameters())


def test_every_method_ships_tiny_and_paper():
    assert {method for method, _ in SHIPPED} == set(METHODS)
    assert all({"tiny", "paper"} <= set(shipped_recipes(method)) for method in METHODS)


def test_the_paper_recipe_is_the_published_setting():
    recipe = load_recipe("sts", "paper")
    assert recipe.optimiser == OptimiserConfig("sgd", lr=5e-4, momentum=0.9, weight_decay=5e-3)
    assert recipe.schedule == ScheduleConfig("step", every=6, gamma=0.1)
    assert (recipe.epochs, recipe.batch) == (25, 30)
    assert recipe.options["resize"] == (128, 171) and recipe.options["size"] == 112
    assert recipe.options["target"] == "classification" and recipe.options["reference"] is True


@pytest.mark.parametrize(("method", "name"), SHIPPED)
def test_a_recipe_survives_the_round_trip_through_yaml(method, name, tmp_path):
    option = "options.rate=12.5" if "options.rate" in recipe_keys(method) else "options.heads=3"
    recipe = load_recipe(method, name, ["ema=0.99", "clip_grad=null", option])
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    assert load_recipe(None, tmp_path / "recipe.yaml") == recipe
    assert load_recipe(method, tmp_path / "recipe.yaml").to_yaml() == recipe.to_yaml()


def test_tiny_is_taken_where_no_recipe_is_named():
    assert load_recipe("sts") == load_recipe("sts", "tiny")


def test_overrides_take_full_or_last_names_and_yaml_values():
    overrides = ["lr=1e-3", "schedule.name=step", "backbone=c3d", "clip_grad=1", "resize=[64, 80]", "betas=[0.5, 0.6]"]
    recipe = load_recipe("sts", "paper", overrides)
    assert recipe.optimiser.lr == 1e-3 and isinstance(recipe.optimiser.lr, float)
    assert recipe.schedule.name == "step" and recipe.options["backbone"] == "c3d"
    assert recipe.clip_grad == 1.0 and recipe.options["resize"] == (64, 80)
    assert recipe.optimiser.betas == (0.5, 0.6)
    as_mapping = {"lr": 1e-3, "schedule.name": "step", "backbone": "c3d", "clip_grad": 1}
    assert recipe == load_recipe("sts", "paper", {**as_mapping, "resize": [64, 80], "betas": (0.5, 0.6)})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", "no option is called 'epoch'. Did you mean 'epochs'"),
        ("backbnoe=r3d", "no option is called 'backbnoe'. Did you mean 'backbone'"),
        ("options.backbnoe=r3d", "Did you mean 'options.backbone'"),
        ("name=sgd", "'name' could be optimiser.name or schedule.name: write the full name"),
        ("epochs", "'epochs' is no override: write key=value"),
        ("epochs=[1", "the value of 'epochs=.1' cannot be read"),
        ("epochs=many", "epochs.*many"),
        ("epochs=2.5", "epochs.*2.5"),
        ("lr=fast", "lr.*fast"),
        ("backbone=resnet", "backbone.*resnet"),
        ("resize=[1, 2, 3]", "resize"),
        ("precision=fp8", "precision.*fp8"),
        ("epochs=0", "epochs=0: must be at least 1"),
        ("epochs=null", "epochs"),
        ("batch=-1", "batch=-1: must be at least 1"),
        ("workers=-1", "workers=-1: must be at least 0"),
        ("threads=0", "threads=0: must be at least 1"),
        ("checkpoint=-1", "checkpoint=-1.0: must be at least 0"),
        ("ema=1.0", "ema=1.0: a decay lies in"),
        ("validation=1.5", "validation=1.5: a share of the rows"),
        ("choose=best", "needs held-out rows"),
        ("lr=0", "optimiser.lr=0.0: must be positive"),
    ],
)
def test_a_wrong_override_is_explained(override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("sts", "tiny", [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: sts\nepcohs: 3", "unknown key 'epcohs'. Did you mean 'epochs'"),
        ("method: sts\noptions: {bakcbone: r3d}", "unknown key 'options.bakcbone'. Did you mean 'options.backbone'"),
        ("method: sts\noptimiser: {lr: 1.0, speed: 2}", "unknown key 'optimiser.speed'"),
        ("method: sts\noptimiser: sgd", "optimiser"),
        ("method: [", "not valid YAML"),
        ("- sts", "must hold 'key: value' lines"),
        ("epochs: 3", "does not name a method: add the line  method: sts"),
    ],
)
def test_a_wrong_file_is_explained(text, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_recipe(None, path)


def test_a_recipe_of_another_method_or_none_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("method: other")
    with pytest.raises(RecipeError, match="is a recipe of 'other', but 'sts' was asked for"):
        load_recipe("sts", path)
    with pytest.raises(RecipeError, match="no recipe 'huge': 'sts' ships paper, tiny"):
        load_recipe("sts", "huge")
    with pytest.raises(RecipeError, match=r"no method is called 'stz'. Did you mean 'sts'"):
        load_recipe("stz")


def test_a_method_from_outside_has_typed_options(tmp_path):
    recipe = load_recipe(OUTSIDE, None, ["dim=3", "rate=2", "weights={a: 1, b: 0.5}", "sizes=[4, 5, 6]"])
    assert recipe.options == {"dim": 3, "name": "a", "weights": {"a": 1.0, "b": 0.5}, "sizes": (4, 5, 6), "rate": 2.0}
    assert recipe.build().settings == (3, "a", {"a": 1.0, "b": 0.5}, (4, 5, 6), 2.0)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    assert load_recipe(OUTSIDE, tmp_path / "recipe.yaml") == recipe
    assert recipe_keys(OUTSIDE)["options.dim"] is None


def test_a_method_from_outside_must_get_what_it_needs():
    with pytest.raises(RecipeError, match="dim"):
        load_recipe(OUTSIDE).build()


def test_building_is_a_function_of_the_recipe_alone():
    recipe = load_recipe("sts", None, {"width": 4})
    torch.manual_seed(1)
    first = recipe.build().state_dict()
    drawn = torch.rand(2)
    torch.manual_seed(2)
    second = recipe.build().state_dict()
    other = replace(recipe, seed=1).build().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(2))


@pytest.mark.parametrize("method", ["sts", "vcop"])
@pytest.mark.parametrize("option", ["stride=0", "rate=0", "rate=-10", "rate=.inf"])
def test_a_stride_or_rate_that_is_none_is_refused(method, option):
    with pytest.raises(RecipeError, match=option.partition("=")[0]):
        load_recipe(method, None, [option]).build()


def test_a_mirror_more_likely_than_certain_is_refused():
    with pytest.raises(RecipeError, match="flip=2: a probability"):
        load_recipe("sts", None, ["flip=2"]).build()


def test_options_that_the_method_refuses_are_an_explained_error():
    with pytest.raises(RecipeError, match=r"motion=1\+4: join any of 1, 2, 3 and global"):
        load_recipe("sts", None, ["motion=1+4"]).build()
    with pytest.raises(RecipeError, match=r"crop of .* does not fit"):
        load_recipe("sts", None, ["size=128"]).build()


def test_keys_of_a_recipe():
    keys = recipe_keys("sts")
    assert keys["optimiser.lr"] == 1e-3 and keys["options.backbone"] == "r2plus1d" and "options" not in keys
    assert resolve_key("lr", keys) == "optimiser.lr"
    assert resolve_key("epochs", keys) == "epochs"


def test_a_recipe_made_in_python_is_checked_too():
    with pytest.raises(RecipeError, match="accumulate=0"):
        Recipe("sts", accumulate=0)


def test_a_number_given_for_a_text_is_taken_as_text():
    assert load_recipe("sts", "tiny", ["motion=1", "appearance=none"]).options["motion"] == "1"
    with pytest.raises(RecipeError, match="width"):
        load_recipe("sts", "tiny", ["width=wide"])


def test_a_value_of_the_wrong_type_is_named_with_its_option():
    with pytest.raises(RecipeError, match=r"^optimiser.lr=fast: expected float$"):
        load_recipe("sts", "tiny", ["lr=fast"])
