"""One flag for each field of `Config`, and ``--config``, which reads their values from a file."""

import difflib
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from nnmpi.config import Config
from nnmpi.errors import InputError
from nnmpi.setting import flag_of, flag_value

LARGEST_FILE = 1 << 24  # bytes
NOT_REPEATED = ("output", "overwrite", "resume", "timeline")  # a repeated run must not touch the files of the first


class Parsed(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """The type of a flag whose text is read by a function; ``allowed`` says which texts are valid."""

    name = "text"

    def __init__(self, parse: Callable[[str], Any], allowed: str) -> None:
        self._parse, self._allowed = parse, allowed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse `value`, unless it is parsed already."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError:
            self.fail(f"{value!r} is not allowed; allowed are {self._allowed}", param, ctx)


def setting_flags(command: Callable[..., int]) -> Callable[..., int]:
    """Give `command` a flag for each field of `Config`, and ``--config``."""
    types = {"int": int, "int | None": int, "float": float, "float | None": float}
    for f in reversed(fields(Config)):
        meta, flag = f.metadata, flag_of(f.name)
        type_: Any = types.get(str(getattr(f.type, "__name__", f.type)), str)
        if meta["choices"]:
            type_ = click.Choice(meta["choices"])
        elif meta["parse"]:
            type_ = Parsed(meta["parse"], meta["allowed"])
        if isinstance(f.default, bool):
            flag, type_ = f"{flag}/--no-{flag[2:]}", bool
        default = flag_value(f.default) if meta["parse"] else f.default
        show = default is not None
        command = click.option(flag, f.name, type=type_, default=default, show_default=show, help=meta["help"])(command)
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        help="TOML file of settings, or config.json of a run to repeat; flags override it.",
    )(command)


def config_of(settings: dict[str, Any]) -> Config:
    """Return the `Config` made of the parameters of a command that has `setting_flags`."""
    return Config(**{f.name: settings[f.name] for f in fields(Config)})


def _read_config(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Make the settings in the file at `path` the defaults of the other flags."""
    if path is None:
        return
    options = {option.name: option for option in context.command.params if option.name in Config.__dataclass_fields__}
    defaults = {}
    for key, value in _load_settings(path).items():
        name = key.replace("-", "_")
        if name not in options:
            near = difflib.get_close_matches(name, map(str, options), 1)
            hint = f"; did you mean {near[0]}?" if near else f"; allowed are {', '.join(map(str, options))}"
            raise InputError(f"--config {path}: unknown setting {key!r}{hint}")
        if value is not None:
            try:
                defaults[name] = options[name].type_cast_value(context, _as_flag_value(value))
            except (click.BadParameter, TypeError, ValueError) as error:
                problem = error.message if isinstance(error, click.BadParameter) else str(error)
                raise InputError(f"--config {path}: {key} is {value!r}: {problem}") from None
    context.default_map = {**(context.default_map or {}), **defaults}


def _load_settings(path: Path) -> dict[str, Any]:
    import tomllib  # imported only here, so that --help answers at once

    try:
        if path.exists() and not path.is_file():
            raise InputError(f"--config {path}: not a file")
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise InputError(f"--config {path}: larger than {LARGEST_FILE >> 20} MB; is it a file of settings?")
        settings = json.loads(content) if path.suffix == ".json" else tomllib.loads(content.decode())
    except OSError as error:
        raise InputError(f"--config {path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"--config {path}: neither TOML, nor JSON in a file that ends in .json ({error})") from None
    if isinstance(settings, dict) and isinstance(settings.get("settings"), dict):  # the config.json of a run
        shards, settings = settings.get("shards"), settings["settings"]
        repeated = {k: v for k, v in settings.items() if k not in NOT_REPEATED and (k, v) != ("shards", None)}
        return {"shards": shards} | repeated
    if not isinstance(settings, dict):
        raise InputError(f"--config {path}: expected names and values")
    return settings


def _as_flag_value(value: Any) -> Any:
    """Return a value of the file as the text of a flag; a list becomes a tuple."""
    if isinstance(value, list):
        if not all(type(item) in (int, str) for item in value):
            raise ValueError("expected whole numbers or names")
        return tuple(value)
    if isinstance(value, dict):
        raise ValueError("expected a value, not a table")
    return str(value)
