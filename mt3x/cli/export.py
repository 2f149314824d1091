"""`mt3x export`: the weights of a run as one file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mt3x.models.weights_file import Weights


@click.command(
    help="Write the best weights of a run folder (or of one step folder "
    "RUN/checkpoints/STEP) to one .safetensors file with its config inside, or for "
    "other programs."
)
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--average",
    "others",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="WEIGHTS",
    help="Average the parameters with those of another file or run of the same model; "
    "may be repeated.",
)
@click.option(
    "--hppnet",
    type=click.Path(path_type=Path),
    metavar="WEIGHTS",
    help="Of a band model: the file or run of an HPPNet that hears notes too; rolls "
    "are the means of both. It comes after --average.",
)
@click.option(
    "--note",
    "notes",
    multiple=True,
    metavar="NAME=TEXT",
    help="Text for the file's header, such as licence=CC-BY-4.0; may be repeated.",
)
@click.option(
    "--decoding",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Decoding chosen on validation data after training, such as "
    "onset_threshold=0.5 or refine_offsets=false; of a band model also "
    "drum_onset_threshold=0.4 or assignment_min_share=0.05; may be repeated.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("safetensors", "onnx", "t5x")),
    default="safetensors",
    show_default=True,
    help="onnx: a piano model's network, from log CQT to rolls. t5x: OUT is a folder, "
    "and OUT/checkpoint_STEP in it what T5X begins with.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
def command(
    run_dir: Path,
    out: Path,
    others: tuple[Path, ...],
    hppnet: Path | None,
    notes: tuple[str, ...],
    changes: tuple[str, ...],
    form: str,
    overwrite: bool,
) -> None:
    from mt3x.files import check_writable
    from mt3x.interop import t5x_checkpoints
    from mt3x.models import weights_file
    from mt3x.models.objectives import config_from_dict

    texts = _pairs(notes, "--note")
    decoding = {
        name: _json_or_text(text)
        for name, text in _pairs(changes, "--decoding").items()
    }
    if form != "t5x":
        check_writable(out, overwrite=overwrite)
    elif notes or changes or others or hppnet:
        raise ValueError(
            "--format t5x has no room for --average, --hppnet, --note and --decoding"
        )
    weights = weights_file.load(run_dir)
    if weights.config.get("objective") == "generator":
        from mt3x.models.adversarial_objective import without_discriminator

        weights = without_discriminator(weights)
    if form == "t5x":
        # T5X trains on tasks: it can begin with no other model.
        config_from_dict(weights.config).train_options()
        step = weights.metadata.get("step", "0")
        step = int(step) if step.isdecimal() else 0
        path = t5x_checkpoints.write_t5x(
            out, weights.params, weights.config, step, overwrite=overwrite
        )
        click.echo(f"{path}: step {step} of {run_dir}", err=True)
        return
    for number, other in enumerate(others, start=1):
        weights = weights._replace(
            params=_moved(weights.params, other, 1 / (number + 1))
        )
    if hppnet is not None:
        weights = _with_hppnet(weights, hppnet, run_dir)
    metadata = weights.metadata | texts
    config = _with_decoding(weights.config, decoding, run_dir)
    if form == "onnx":
        from mt3x.models import onnx_export

        changed = weights_file.Weights(weights.params, config, metadata)
        onnx_export.export(out, changed, run_dir, overwrite=overwrite)
    else:
        weights_file.save_weights(
            out, weights.params, config, metadata, overwrite=overwrite
        )
    click.echo(f"{out}: step {metadata.get('step', '?')} of {run_dir}", err=True)


def _moved(params: dict[str, Any], other: Path, share: float) -> dict[str, Any]:
    """Return parameters, moved by a share of the way to those of other weights."""
    import jax

    from mt3x.models import weights_file

    found = weights_file.load(other).params
    found = {name: part for name, part in found.items() if name in params}
    weights_file.check_params(found, params, other, "average weights of one model")
    return jax.tree.map(lambda a, b: a + (b - a) * share, params, found)


def _with_hppnet(weights: "Weights", hppnet: Path, run_dir: Path) -> "Weights":
    """Return a band model's weights with those of an HPPNet that hears notes too."""
    import dataclasses

    from mt3x.models import weights_file
    from mt3x.models.band_objective import HPPNET
    from mt3x.models.hppnet import PEDAL_HEADS
    from mt3x.models.objectives import BandConfig, PianoConfig, config_from_dict

    config = config_from_dict(weights.config)
    found = weights_file.load(hppnet)
    other = config_from_dict(found.config)
    if not isinstance(config, BandConfig):
        raise ValueError(f"{run_dir} is a {config.kind}: --hppnet is for band models")
    if not isinstance(other, PianoConfig):
        raise ValueError(f"--hppnet {hppnet} is a {other.kind}: give an HPPNet")
    config = dataclasses.replace(config, hppnet=other.without_pedal())
    heard = weights_file.without(found.params, PEDAL_HEADS)
    params = weights.params | {HPPNET: heard}
    return weights._replace(params=params, config=config.to_dict())


def _with_decoding(
    config: dict[str, Any], decoding: dict[str, Any], run_dir: Path
) -> dict[str, Any]:
    """Return a config with other options of decoding."""
    from mt3x.models.objectives import config_from_dict

    if not decoding:
        return dict(config)
    if "decoding" not in config:
        raise ValueError(f"{run_dir}: --decoding is for piano models and band models")
    # Options of an older version get their present names first.
    try:
        config = config_from_dict(config).to_dict()
    except ValueError as error:
        raise ValueError(f"{run_dir}: {error}") from error
    parts = {"drum_": "drum_decoding", "assignment_": "assignment"}
    for name, value in decoding.items():
        prefix = next((p for p in parts if name.startswith(p)), "")
        part = parts.get(prefix, "decoding")
        if part not in config:
            raise ValueError(f"--decoding {name}: for band models")
        config[part][name.removeprefix(prefix)] = value
    try:
        return config_from_dict(config).to_dict()
    except ValueError as error:
        raise ValueError(f"--decoding: {error}") from error


def _json_or_text(text: str) -> Any:
    """Return the value of JSON; text that is not JSON stands for itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    """Return NAME=VALUE texts as a dict."""
    for text in texts:
        if "=" not in text:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
    return dict(text.split("=", 1) for text in texts)
