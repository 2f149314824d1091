"""The user's own defaults and presets, in mt3x.toml.

The file lies in the platform's folder for configurations (`~/.config` on Linux);
`MT3X_CONFIG` names another one, or is `off`. Its table `[transcribe]` holds options
of `mt3x transcribe` by their long names, `[presets.NAME]` those that `--preset NAME`
adds. What is given on the command line wins, then the preset, then the defaults.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

__all__ = ["PRESETS", "config_path", "take_settings"]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "clean": {"onset-threshold": 0.8},
    "sensitive": {"onset-threshold": 0.3},
}
"""Presets that need no file."""

_NEVER = ("preset", "output", "help")
"""Options that make sense on the command line alone."""


def config_path() -> Path | None:
    """Return where the user's file is or would be; None where it is off."""
    choice = os.environ.get("MT3X_CONFIG", "")
    if choice:
        return None if choice == "off" else Path(choice)
    import platformdirs

    try:
        return platformdirs.user_config_path() / "mt3x.toml"
    except RuntimeError:  # a user without a home
        return None


def take_settings(
    ctx: click.Context, param: click.Parameter, preset: str | None
) -> str | None:
    """Make the user's settings and the preset the defaults of a command's options.

    Raises:
      ValueError: the file is damaged, or has an unknown option or a wrong value; or
        there is no such preset.
    """
    del param
    path = config_path()
    config = _read(path) if path is not None and path.is_file() else {}
    own = config.get("presets", {})
    options = _defaults(ctx, config.get("transcribe", {}), f"{path}, [transcribe]")
    if preset is not None:
        if preset in own:
            where, values = f"{path}, [presets.{preset}]", own[preset]
        elif preset in PRESETS:
            where, values = f"preset {preset}", PRESETS[preset]
        else:
            known = ", ".join(dict.fromkeys([*PRESETS, *own]))
            raise ValueError(
                f"there is no preset {preset!r}: give one of {known}, or write "
                f"[presets.{preset}] in {path or 'a file that MT3X_CONFIG names'}"
            )
        options |= _defaults(ctx, values, where)
    ctx.default_map = options
    return preset


def _read(path: Path) -> Mapping[str, Any]:
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    for name, table in config.items():
        if name not in ("transcribe", "presets"):
            raise ValueError(
                f"{path}: {name!r} is unknown; it has tables [transcribe] and "
                "[presets.NAME]"
            )
        if not isinstance(table, dict):
            raise ValueError(f"{path}: {name} is not a table; write [{name}] above it")
    return config


def _defaults(ctx: click.Context, values: Any, where: str) -> dict[str, Any]:
    """Return options by the names of their parameters, checked."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} is not a table of options")
    options = {
        flag.removeprefix("--"): param
        for param in ctx.command.params
        for flag in param.opts
        if flag.startswith("--") and flag.removeprefix("--") not in _NEVER
    }
    defaults = {}
    for name, value in values.items():
        param = options.get(name.replace("_", "-"))
        if param is None or param.name is None:
            near = difflib.get_close_matches(name, options, 1)
            hint = f"did you mean {near[0]}?" if near else "see mt3x transcribe -h"
            raise ValueError(f"{where}: {name!r} is not an option; {hint}")
        if isinstance(value, list):
            value = ",".join(map(str, value))
        elif not isinstance(value, bool):
            value = str(value)
        try:
            param.type_cast_value(ctx, value)
        except click.BadParameter as error:
            raise ValueError(f"{where}: {name}: {error.message}") from error
        defaults[param.name] = value
    return defaults
