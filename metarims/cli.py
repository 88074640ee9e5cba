"""The command line: commands, a run's settings as flags, and one-line error messages."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, make_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Protocol, TypeVar, cast, get_args, get_type_hints

import tyro
from tyro import _errors as tyro_errors  # its hook for parse errors is not public yet
from tyro._arguments import ArgumentDefinition
from tyro.conf import arg

from . import registry
from .config import RunConfig, find_preset
from .errors import UsageError, check_choice, nearest
from .memory import ran_out_of_memory
from .runs import CONFIG, read_config
from .settings import Variant, field_types, flatten, replace_at, segments
from .stopping import Stopped, hearing

PROGRAM = "run.py"

Value = TypeVar("Value")


class Command(Protocol):
    """A dataclass whose fields are a command's flags."""

    def run(self, wiring: object) -> None:
        """Run the command with what the other packages provide."""


@dataclass(frozen=True)
class Choice:
    """A flag that determines which other flags exist, and is therefore read first.

    Attributes:
        path: the flag.
        kind: registry kind of its values.
        now: its current value.
    """

    path: str
    kind: str
    now: str


def main(commands: Mapping[str, type], wiring: object, args: Sequence[str]) -> int:
    """Run one command; the exit code is 2 for bad input, with one line on stderr."""
    try:
        with hearing():
            parse(commands, args).run(wiring)
            sys.stdout.flush()
    except UsageError as error:
        print(f"{PROGRAM}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        return stopped.exit_code
    except (MemoryError, RuntimeError, TypeError, ValueError, OverflowError) as error:
        if not ran_out_of_memory(error):
            raise
        print(f"{PROGRAM}: not enough memory: try a smaller --num-envs", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{PROGRAM}: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    return 0


def parse(commands: Mapping[str, type], args: Sequence[str]) -> Command:
    """The command given by the arguments.

    Raises:
        UsageError: the arguments are invalid.
    """
    if not args:
        raise UsageError(f"expected a command: {', '.join(commands)}")
    name, *rest = args
    if name in ("-h", "--help"):
        print(overview(commands))
        raise SystemExit(0)
    check_choice("command", name, commands)
    for path in imports(rest):
        registry.import_file(path)
    kind = commands[name]
    if field_types(kind).get("config") is RunConfig:
        return parse_run(kind, name, rest)
    return parse_plain(kind, name, rest)


def overview(commands: Mapping[str, type]) -> str:
    """The usage text, with a line per command."""
    titles = {name: first_sentence(kind.__doc__ or "") for name, kind in commands.items()}
    lines = [f"  {name:11}{title}" for name, title in titles.items()]
    head, foot = f"usage: {PROGRAM} COMMAND [FLAGS]", f"{PROGRAM} COMMAND --help lists its flags."
    return "\n".join([head, "", *lines, "", foot])


def first_sentence(text: str) -> str:
    """The first sentence of a text, on one line."""
    return " ".join(text.split()).split(". ")[0].rstrip(".") + "."


def parse_run(kind: type, command: str, args: Sequence[str]) -> Command:
    """Parse a command that takes a run's settings: a preset's or a file's, some of them changed."""
    base = with_choices(begun_with(args), args)
    own, parts = segments(base), {f.name: getattr(base, f.name) for f in fields(base)}
    preset = parts.pop("preset")
    presets = ", ".join(registry.names("preset"))
    rows = [("agent_name", _flag("agent", f"one of {presets}.", str), preset)]
    rows.append(("config_file", _flag("config", "a config.json to start from.", Path), None))
    rows += _choice_rows(base)
    hints = get_type_hints(kind, include_extras=True)
    extras = [f for f in fields(kind) if f.name not in ("config", "imported")]
    rows += [(f.name, hints[f.name], f.default) for f in extras]
    rows += [(name, Annotated[type(p), arg(name=own[name])], p) for name, p in parts.items()]
    flags = make_dataclass("Flags", rows, frozen=True, namespace={"__doc__": kind.__doc__})
    known = [*flatten(base), "agent", *READ_AHEAD, *(f.name for f in extras)]
    parsed = replace(parse_flags(flags, command, args, flags(), known), imported=imports(args))
    config = replace(base, **{name: getattr(parsed, name) for name in parts})
    check_used(config, args)
    given = {f.name: getattr(parsed, f.name) for f in fields(kind) if f.name != "config"}
    return cast(Command, kind(config=config, **given))


def check_used(config: RunConfig, args: Sequence[str]) -> None:
    """Refuse flags that make no difference; files may hold such settings."""
    for flag in (token.split("=")[0] for token in args if token.startswith("--")):
        if why := why_idle(config, flag.removeprefix("--").replace("-", "_")):
            raise UsageError(f"{flag} does nothing: {why}")


def why_idle(config: RunConfig, path: str) -> str:
    """Why a setting makes no difference; "" if it may make one."""
    group = path.split(".")[0]
    if path in ("slow.groups", "eval.env"):
        return ""
    if group == "eval" and not config.evaluation.env:
        return "there is no --eval.env, the levels to evaluate on"
    if group == "slow" and not config.loops.slow.groups:
        return f"{config.preset} learns in one loop, --fast.*"
    if path.startswith(config.loops.idle):
        return f"the {group} loop does not train the attention"
    return ""


def parse_plain(kind: type, command: str, args: Sequence[str]) -> Command:
    """Parse a command without a run's settings; it may have flags that choose variants."""
    required = any(field.default is MISSING for field in fields(kind))
    base = None if required else with_choices(kind(), args)
    rows = _choice_rows(base)
    about = {"__doc__": kind.__doc__}
    flags = make_dataclass(kind.__name__, rows, bases=(kind,), frozen=True, namespace=about)
    default = None if base is None else flags(**vars(base))
    hints = get_type_hints(kind, include_extras=True)
    passed_over = {"imported", *(name for name, hint in hints.items() if is_positional(hint))}
    known = [field.name for field in fields(kind)] if base is None else flatten(base)
    paths = [path for path in known if path not in passed_over]
    parsed = parse_flags(flags, command, args, default, [*paths, "import"])
    return cast(Command, replace(parsed, imported=imports(args)))


def is_positional(hint: object) -> bool:
    """Whether an argument of that type is positional."""
    return tyro.conf.Positional in get_args(hint)


def starting_point(args: Sequence[str]) -> RunConfig:
    """The configuration that ``--config`` or ``--agent`` names, or else the first preset."""
    files, agents = values_of("config", args), values_of("agent", args)
    if files and agents:
        raise UsageError("--config already names an agent: leave out --agent")
    if files:
        path = Path(files[-1])
        if not path.is_file():
            inner = path / CONFIG
            near = f"; nearest: {inner}" if inner.is_file() else ""
            raise UsageError(f"no configuration file {path}{near}")
        return read_config(path)
    name = agents[-1] if agents else registry.names("preset")[0]
    return find_preset(name)


def begun_with(args: Sequence[str]) -> RunConfig:
    """The starting point, with an algorithm that imitates if ``--imitate`` is given."""
    base = starting_point(args)
    if values_of("imitate", args) and not base.algorithm.imitates:
        return replace_at(base, {"algorithm": "clone"})
    return base


def choices(settings: object, prefix: str = "") -> Iterator[Choice]:
    """The flags that choose a variant, outer ones first."""
    for name, segment in segments(settings).items():
        value = getattr(settings, name)
        if isinstance(value, Variant) and segment:
            yield Choice(prefix + name, value.kind, value.name)
        if is_dataclass(value):
            yield from choices(value, f"{prefix}{segment}." if segment else prefix)


def with_choices(settings: Value, args: Sequence[str]) -> Value:
    """The settings with the variants that the arguments choose, outer ones first."""
    for depth in range(len(args)):
        changes = {
            choice.path: given
            for choice in choices(settings)
            for given in values_of(choice.path, args)[-1:]
            if choice.path.count(".") == depth and given != choice.now
        }
        settings = replace_at(settings, changes)
    return settings


READ_AHEAD = ("config", "import")
IMPORT_HELP = "your own Python files that register cores, levels, algorithms and so on."


def _choice_rows(settings: object) -> list[tuple[str, object, object]]:
    """Fields for the flags that are read first, so that the help lists them."""
    rows: list[tuple[str, object, object]] = []
    for choice in choices(settings) if is_dataclass(settings) else ():
        help = f"{choice.kind}: {', '.join(registry.names(choice.kind))}."
        name = f"choice_{choice.path.replace('.', '_')}"
        rows.append((name, _flag(choice.path, help, str), choice.now))
    return [*rows, ("imported", _flag("import", IMPORT_HELP, tuple[Path, ...]), ())]


def _flag(path: str, help: str, kind: object) -> object:
    optional = Path | None if kind is Path else kind
    return Annotated[optional, arg(name=path, help=help)]


def parse_flags(
    kind: type[Value],
    command: str,
    args: Sequence[str],
    default: Value | None,
    paths: Iterable[str],
) -> Value:
    """Parse flags into a dataclass; `UsageError`, in one line, if they are invalid.

    Args:
        kind: the dataclass.
        command: its name.
        args: the flags.
        default: an instance with the default values.
        paths: all known flags, by path.
    """

    def complain(event: tyro_errors.ParseErrorEvent) -> None:
        raise UsageError(mistake(event, [f"--{path.replace('_', '-')}" for path in paths]))

    parser: Callable[..., Value] = partial(
        tyro.cli, kind, prog=f"{PROGRAM} {command}", args=list(args)
    )
    with tyro_errors.on_parse_error(complain):
        return parser() if default is None else parser(default=default)


def mistake(event: tyro_errors.ParseErrorEvent, flags: Sequence[str]) -> str:
    """The error message, in one line.

    Args:
        event: the parse error.
        flags: all known flags.
    """
    match event:
        case tyro_errors.UnrecognizedArgs(tokens=[str(token), *_]):
            if not token.startswith("-"):
                return f"unexpected {token!r}"
            flag = token.split("=")[0]
            return f"unknown setting {flag}; nearest: {', '.join(near_flags(flag, flags))}"
        case tyro_errors.MissingArgs(missing_arguments=missing):
            return f"missing: {', '.join(shown(each.arg) for each in missing)}"
        case tyro_errors.InvalidChoice(argument=argument, value=value, choices=known):
            return f"{shown(argument)} must be one of {', '.join(known)}, got {value!r}"
        case tyro_errors.BadValue(argument=argument):
            return f"{shown(argument)} needs a value"
        case tyro_errors.InstantiationFailure(message=message, argument=argument):
            return message if argument is None else f"{shown(argument)}: {in_words(message)}"
    return f"invalid arguments for {event.prog}: see --help"


def near_flags(flag: str, flags: Sequence[str]) -> list[str]:
    """Flags that end in the given name or have it as initials (lr), or else the most similar."""
    asked = last_segment(flag)
    meant = [each for each in flags if asked in (end := last_segment(each), initials(end))]
    return nearest(flag, meant or flags)


def last_segment(flag: str) -> str:
    """The name of a setting within its group."""
    return flag.lstrip("-").split(".")[-1]


def initials(name: str) -> str:
    """Initials of a hyphenated name."""
    return "".join(word[:1] for word in name.split("-"))


def in_words(message: str) -> str:
    """The message about an invalid number, in plain words; that about the last type, if it could
    have been of several.
    """
    message = message.rpartition("'>: ")[2]
    for kind, python in NOT_A_NUMBER.items():
        message = message.replace(python, f"must be a {kind}, got")
    return message


NOT_A_NUMBER = {
    "list of whole numbers": "Could not find valid parse for arguments:",  # tyro's
    "whole number": "invalid literal for int() with base 10:",
    "number": "could not convert string to float:",
}


def shown(argument: ArgumentDefinition) -> str:
    """The name of an argument in the help."""
    metavar = str(argument.lowered.metavar)
    return metavar if metavar.isalpha() and argument.is_positional() else argument.display_name()


def imports(args: Sequence[str]) -> tuple[Path, ...]:
    """The files to import; tyro has those after the last ``--import`` alone."""
    return tuple(map(Path, values_of("import", args)))


def values_of(flag: str, args: Sequence[str]) -> list[str]:
    """The values of a flag, wherever it stands, up to the next flag."""
    values: list[str] = []
    follows = False
    for token in args:
        if token.startswith("--"):
            name, _, value = token.partition("=")
            follows = name.removeprefix("--").replace("-", "_") == flag
            values += [value] if follows and value else []
        elif follows:
            values.append(token)
    return values
