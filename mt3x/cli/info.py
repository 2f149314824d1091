"""`mt3x info`: what a report of a fault needs to say about an installation."""

import importlib.metadata
import json
import os
import platform
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

# Extras for work on mt3x itself, which a report does not need.
_DEVELOPERS = ("dev", "docs")
# Variables of the environment that change what is computed or where.
_SETTINGS = re.compile(r"MT3X_|JAX_|XLA_|CUDA_VISIBLE_DEVICES$|TF_FORCE_GPU")


@click.command("info")
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of text.")
def command(as_json: bool) -> None:
    """Print versions, devices, cache and optional parts: add it to a bug report.

    Nothing fails here: what cannot be found out is a line that says why.
    """
    info = collect()
    click.echo(json.dumps(info, indent=2) if as_json else "\n".join(_lines(info)))


def collect() -> dict[str, Any]:
    """Return all that `mt3x info` prints, as values for JSON."""
    core, extras = _requirements()
    # jaxlib comes with jax, but a version of its own may be there.
    packages = {name: _version(name) for name in sorted({*core, "jaxlib"})}
    return {
        "mt3x": _version("mt3x"),
        "folder": str(_package()),
        "python": platform.python_version(),
        "platform": f"{platform.platform()}, {os.cpu_count()} CPUs",
        "packages": packages,
        "extras": {
            extra: {name: _version(name) for name in sorted(names)}
            for extra, names in sorted(extras.items())
        },
        **_jax(),
        "weights": {
            file.name: file.stat().st_size
            for file in sorted((_package() / "weights").glob("*.safetensors"))
        },
        "settings": {
            name: value for name, value in os.environ.items() if _SETTINGS.match(name)
        },
    }


def _package() -> Path:
    return Path(__file__).resolve().parents[1]


def _version(name: str) -> str | None:
    """Return the version of an installed distribution, None where there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """Return the names of required distributions, and those of each extra."""
    try:
        required = importlib.metadata.requires("mt3x") or []
    except importlib.metadata.PackageNotFoundError:  # run from a folder
        return [], {}
    core: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in required:
        match = re.match(r"[\w.-]+", line)
        # Some are for one version of Python alone: they are left out.
        if match is None or "python_version" in line:
            continue
        extra = re.search(r"""extra == ["']([\w-]+)["']""", line)
        if extra and extra[1] in _DEVELOPERS:
            continue
        names = extras.setdefault(extra[1], []) if extra else core
        names.append(match[0])
    return core, extras


def _jax() -> dict[str, Any]:
    """Return JAX's devices and cache, or the error that it raises for each."""
    try:
        import jax

        from mt3x.models.platform import use_compilation_cache

        use_compilation_cache()
        folder = jax.config.jax_compilation_cache_dir  # pyright: ignore
        cache = _size(Path(folder)) if folder else "off"
    # A broken installation raises whatever it likes, and the report shall say so.
    except Exception as error:
        return {"devices": _line(error), "cache": _line(error)}
    try:
        devices = Counter(f"{d.platform}: {d.device_kind}" for d in jax.devices())
    except Exception as error:
        return {"devices": _line(error), "cache": cache}
    return {"devices": dict(devices), "cache": cache}


def _size(folder: Path) -> dict[str, Any]:
    sizes = [file.stat().st_size for file in folder.glob("*") if file.is_file()]
    return {"folder": str(folder), "files": len(sizes), "bytes": sum(sizes)}


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _lines(info: dict[str, Any]) -> list[str]:
    """Return the report as lines: a word, then what there is to say about it."""
    cache, devices = info["cache"], info["devices"]
    if isinstance(cache, dict):
        size = _megabytes(cache["bytes"])
        cache = f"{cache['folder']}: {cache['files']} files, {size}"
    if isinstance(devices, dict):
        devices = ", ".join(f"{count} x {name}" for name, count in devices.items())
    weights = [f"{name}, {_megabytes(size)}" for name, size in info["weights"].items()]
    rows = [
        ("mt3x", f"{info['mt3x'] or 'not installed'}, {info['folder']}"),
        ("python", f"{info['python']}, {sys.executable}"),
        ("platform", info["platform"]),
        ("devices", devices),
        ("cache", cache),
        ("weights", "; ".join(weights) or "none"),
        ("packages", _versions(info["packages"])),
    ]
    for extra, packages in info["extras"].items():
        missing = [name for name, version in packages.items() if version is None]
        found = {name: version for name, version in packages.items() if version}
        text = f"missing: {', '.join(missing)}" if missing else "complete"
        rows.append((f"[{extra}]", "; ".join(filter(None, [text, _versions(found)]))))
    rows += [("setting", f"{name}={value}") for name, value in info["settings"].items()]
    return [f"{name:<10} {text}" for name, text in rows]


def _versions(packages: dict[str, str | None]) -> str:
    return ", ".join(
        f"{name} {version or 'missing'}" for name, version in packages.items()
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
