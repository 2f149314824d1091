"""`mt3x web`: the page with its model as a folder of static files."""

import dataclasses
import gzip
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

# What tells a folder that this command wrote from any other.
_MARK = "model/config.json"
_SERVER = '<meta name="mt3x-engine" content="server">'
# Nothing is loaded from elsewhere, and nothing is sent.
_BROWSER = """<meta name="mt3x-engine" content="browser">
    <meta
      http-equiv="Content-Security-Policy"
      content="default-src 'self'; script-src 'self' 'wasm-unsafe-eval';
        worker-src 'self' blob:; connect-src 'self' blob:; media-src 'self' blob:;
        img-src 'self' data: blob:; object-src 'none'; base-uri 'none';
        form-action 'none'"
    >"""


@click.command(
    help="Write the page as a folder of static files for any web host. The model runs "
    "in the browser of whoever opens it, and no recording leaves that."
)
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="A piano model's weights file, checkpoint or run folder; by default the "
    "package's. Needs mt3x[onnx].",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT if this command wrote it.")
def command(out: Path, checkpoint: Path | None, overwrite: bool) -> None:
    from mt3x.models import weights_file

    _check_replaceable(out, overwrite)
    source = checkpoint or weights_file.packaged("piano")
    weights = weights_file.load(source)
    config = _page_config(weights, source)
    if checkpoint is None:
        model = source.with_suffix(".onnx").read_bytes()
    else:
        from mt3x.models import onnx_export

        model = onnx_export.build(weights, source).SerializeToString()
    target = out.absolute()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as temporary:
        new = Path(temporary) / "new"
        _write_page(new)
        (new / "model").mkdir()
        (new / "model/model.onnx").write_bytes(model)
        (new / "model/noise.bin").write_bytes(_noise(config))
        (new / _MARK).write_text(json.dumps(config), encoding="utf-8")
        if target.exists():
            target.rename(Path(temporary) / "old")
        new.rename(target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    click.echo(f"{out}: {size / 1e6:.1f} MB, for any web host", err=True)


def _check_replaceable(out: Path, overwrite: bool) -> None:
    folder = out.absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(
            f"cannot write {out}: there is no folder {folder}; create it first"
        )
    if not out.exists():
        return
    if not overwrite:
        raise FileExistsError(
            f"{out} exists already; give --overwrite to replace it, or another name"
        )
    if not (out / _MARK).is_file():
        raise FileExistsError(
            f"{out} was not written by mt3x web and is not replaced; give another name"
        )


def _page_config(weights: Any, source: Path) -> dict[str, Any]:
    """Return what the browser engine has to know of a model."""
    from mt3x.inference.windows import WindowConfig
    from mt3x.models.objectives import PianoConfig, config_from_dict
    from mt3x.music.instruments import PROGRAM_NAMES

    try:
        config = config_from_dict(weights.config)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    if not isinstance(config, PianoConfig):
        raise ValueError(
            f"{source} is a {config.kind}: browsers run piano models only; for others "
            "there is mt3x serve"
        )
    return {
        "kind": config.kind,
        "features": dataclasses.asdict(config.features),
        "decoding": dataclasses.asdict(config.decoding),
        "time_pool": max(subnet.time_pool for subnet in config.model.subnets),
        "window": dataclasses.asdict(WindowConfig()),
        "program_names": list(PROGRAM_NAMES),
    }


def _noise(config: dict[str, Any]) -> bytes:
    """Return the noise for what is silent in a window, in steps of 0.04: int8."""
    import numpy as np

    from mt3x.inference.quiet import noise

    size = config["window"]["num_frames"] * config["features"]["hop_samples"]
    return (
        np.clip(np.round(noise(size, size) / 0.04), -127, 127).astype(np.int8).tobytes()
    )


def _write_page(folder: Path) -> None:
    from mt3x import page

    for name, path in page.files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rb") as source, open(folder / name, "wb") as file:
            shutil.copyfileobj(source, file)
    index = folder / "index.html"
    text = index.read_text(encoding="utf-8")
    assert _SERVER in text
    index.write_text(text.replace(_SERVER, _BROWSER), encoding="utf-8")
