"""Settings: paths, changes, JSON, and that every default is written once."""

import ast
import json
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import ClassVar, cast

import pytest

from agents.policy import PolicyConfig
from metarims.config import RunConfig, find_preset
from metarims.errors import UsageError
from metarims.registry import find, names, register
from metarims.settings import Variant, differences, flatten, replace_at

PRESETS = names("preset")
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Shape(Variant):
    kind: ClassVar[str] = "shape"


@register("shape", "circle")
@dataclass(frozen=True)
class Circle(Shape):
    radius: float = 1.0


@register("shape", "square")
@dataclass(frozen=True)
class Square(Shape):
    side: float = 2.0
    filled: bool = False


@dataclass(frozen=True)
class Drawing:
    shape: Shape = Circle()
    names: tuple[str, ...] = ("a",)
    title: str | None = None
    size: int = 3

    def __post_init__(self):
        if self.size < len(self.names):
            raise UsageError("size must hold the names")


def test_paths_by_hand():
    assert flatten(Drawing()) == {
        "shape": "circle",
        "shape.radius": 1.0,
        "names": ("a",),
        "title": None,
        "size": 3,
    }


def test_changes_are_made_all_at_once():
    """Neither of these two alone would be valid."""
    changes = {"names": ["a", "b", "c", "d"], "size": 4, "title": "x", "shape.radius": 3}
    assert replace_at(Drawing(), changes) == Drawing(Circle(3.0), ("a", "b", "c", "d"), "x", 4)


def test_a_variant_is_chosen_by_name_with_its_own_settings():
    drawing = replace_at(Drawing(), {"shape": "square", "shape.filled": True})
    assert drawing.shape == Square(filled=True)
    assert differences(drawing, Drawing()) == {
        "shape": "square",
        "shape.side": 2.0,
        "shape.filled": True,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"siez": 3}, "unknown setting 'siez'; nearest: size"),
        ({"shape.radios": 3}, "unknown setting 'shape.radios'; nearest: shape.radius"),
        ({"shape": "circel"}, "unknown shape 'circel'; nearest: circle"),
        ({"size": 2.5}, "size must be of type int, got 2.5"),
        ({"size": True}, "size must be of type int, got True"),
        ({"shape.radius": "3"}, "shape.radius must be of type float, got '3'"),
        ({"names": "abc"}, "names must be of type list, got 'abc'"),
        ({"names": [1]}, "names must be of type str, got 1"),
        ({"size": 0}, "size must hold the names"),
    ],
)
def test_wrong_changes_are_named(changes, message):
    with pytest.raises(UsageError) as error:
        replace_at(Drawing(), changes)
    assert message in str(error.value)


@pytest.mark.parametrize("name", PRESETS)
def test_a_run_survives_json(name):
    config = find_preset(name)
    content = json.loads(json.dumps(config.as_json()))
    assert RunConfig.from_json(content) == config


JOINT = {
    "fast.groups": ("encoder", "modules", "policy", "attention", "value"),
    "fast.span": 40,
    "fast.attention_rate": 1.0,
    "fast.value_loss": True,
    "slow.groups": (),
}
STATED = {  # what each preset states; all else is where the thing is defined
    "lstm": JOINT,
    "rims": JOINT,
    "metarims": {},
    "metalstm": {},
    "metaflip": {
        "fast.groups": ("attention", "value"),
        "fast.value_loss": True,
        "slow.groups": ("encoder", "modules", "policy"),
        "slow.value_loss": False,
    },
    "slowlr": JOINT | {"fast.attention_rate": 0.25},
    "dense": {"core.active": 5},
    "random": {"core.choice": "random"},
    "fixed": {"core.choice": "fixed"},
    "slow1": {"slow.span": 20},
    "slow2": {"slow.span": 40},
    "slow8": {"slow.span": 160, "steps": 160},
    "paper": {
        "core.attention": "sparse",
        "fast.value_loss": True,
        "slow.data": "fresh",
        "slow.attention_rate": 1.0,
        "ppo.log_barrier": 0.0,
    },
    "routing": JOINT | {"encoder.features": 64},
}


@pytest.mark.parametrize("name", STATED)
def test_a_preset_states_what_makes_it_and_nothing_else(name):
    config = find_preset(name)
    core = flatten(config)["core"]
    defaults = RunConfig(PolicyConfig(cast(type, find("core", str(core)))()), preset=name)
    assert differences(config, defaults) == STATED[name]


def settings_classes(settings):
    """The classes in a tree of settings."""
    yield type(settings)
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from settings_classes(value)


def every_class():
    found = {kind for name in STATED for kind in settings_classes(find_preset(name))}
    for kind in ("core", "decision maker", "algorithm"):
        found |= {find(kind, name) for name in names(kind)}
    return found


TRIVIAL = (None, "", 0, False, (), 1.0)


def defaults_in(path):
    """Names and literal defaults of the parameters of all functions in a file, with lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            given = node.args.args[len(node.args.args) - len(node.args.defaults) :]
            later = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            pairs = [*zip(given, node.args.defaults, strict=True), *later]
            for argument, default in pairs:
                if isinstance(default, ast.Constant) and default.value not in TRIVIAL:
                    yield argument.arg, default.value, f"{path}:{node.lineno}"


def test_no_function_repeats_the_default_of_a_setting():
    known = {(field.name, field.default) for kind in every_class() for field in fields(kind)}
    for room in ("agents", "metarims"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for name, value, place in defaults_in(path):
                assert (name, value) not in known, f"{place}: {name} = {value!r} is a setting's"


def test_every_setting_has_a_default_where_it_is_defined():
    for kind in every_class():
        missing = [field.name for field in fields(kind) if field.default is MISSING]
        assert set(missing) <= {"agent", "core"}, kind
