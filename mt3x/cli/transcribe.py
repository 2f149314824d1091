"""`mt3x transcribe`: recordings to MIDI and other formats."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mt3x.cli.batch import Batch, Settings
from mt3x.cli.help import SectionedCommand, options_of
from mt3x.cli.log import LOGS, JsonLog, Log
from mt3x.cli.models import AUTO, MODELS, Models
from mt3x.cli.option_types import (
    DeviceName,
    Formats,
    InstrumentList,
    Pitch,
    Tempo,
    Time,
    Tuning,
    as_json,
)
from mt3x.cli.recordings import (
    Recording,
    choose_outputs,
    find_recordings,
    split_output,
)
from mt3x.cli.settings import take_settings
from mt3x.inference.beat_choice import BeatChoice
from mt3x.inference.outputs import FORMATS
from mt3x.music.note_filter import NoteFilter
from mt3x.music.performance import EXTEND, PEDALS

EXAMPLES = """\b
Examples:
  mt3x transcribe song.mp3                          writes song.mid beside it
  mt3x transcribe song.mp3 out.mid
  mt3x transcribe song.mp3 -f midi,csv,png -d out
  mt3x transcribe takes/ -d out                    all of a folder
  mt3x transcribe song.mp3 --start 1:30 --end 2:15
  mt3x transcribe song.mp3 --lowest E2 --min-duration 0.05
  yt-dlp -f bestaudio -o - ADDRESS | mt3x transcribe - -o out.mid
"""

output_option = options_of("Output")
part_option = options_of("Part and notes")
beat_option = options_of("Beats and bars (MIDI, scores)")
model_option = options_of("Model")
roll_option = options_of("Thresholds (not of tokens)")
band_option = options_of("Several instruments")
machine_option = options_of("Machine and messages")


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("inputs", metavar="IN...", nargs=-1)
@click.option(
    "--preset",
    metavar="NAME",
    is_eager=True,
    expose_value=False,
    callback=take_settings,
    help="Options by one name: clean (fewer notes that were not played), sensitive "
    "(fewer that are missed), or your own [presets.NAME] of mt3x.toml.",
)
@output_option(
    "-f",
    "--format",
    "formats",
    type=Formats(),
    help="What to write, separated by commas: midi, csv, json and jsonl (notes), rolls "
    "(the model's output, npz), plot and svg-plot (notes over the spectrogram, PNG and "
    "SVG), musicxml, svg and pdf (the score), sonify (WAV with the recording left and "
    "the notes right). Endings such as mid or png will do.  [default: midi]",
)
@output_option(
    "-o",
    "--output",
    metavar="OUT",
    help="Output file of a single recording; `-` is standard output. Its ending "
    "chooses the format unless -f does.",
)
@output_option(
    "-d",
    "--out-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the outputs, made if missing; folders of inputs are kept as they "
    "are inside.  [default: beside each input]",
)
@output_option("--overwrite", is_flag=True, help="Replace outputs that exist already.")
@output_option(
    "--pedal",
    type=click.Choice(PEDALS),
    default=EXTEND,
    show_default=True,
    help="How the sustain pedal is written: extend, notes end where their sound does; "
    "events, where keys are released, and the pedal beside them (CC64 in MIDI). Of the "
    "piano model.",
)
@output_option(
    "--plot-theme",
    type=click.Choice(["dark", "light"]),
    default="dark",
    show_default=True,
    help="Background of pictures; light is for print.",
)
@part_option(
    "--start",
    "start_s",
    type=Time(),
    help="Where to begin, in seconds or as 1:30; times of notes count from there.",
)
@part_option("--end", "end_s", type=Time(), help="Where to end.")
@part_option(
    "--min-duration",
    "min_duration_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Leave out notes that are shorter.",
)
@part_option("--lowest", type=Pitch(), help="Leave out lower notes: E2, F#3, or 52.")
@part_option("--highest", type=Pitch(), help="Leave out higher notes.")
@part_option(
    "--min-velocity",
    type=click.IntRange(1, 127),
    metavar="1-127",
    help="Leave out softer notes. Of drums, this filter alone counts.",
)
@beat_option(
    "--tempo",
    type=Tempo(),
    default="detect",
    show_default=True,
    help="Beats that bars and grid of a MIDI file follow, while notes stay where they "
    "are: found in the notes, even ones, or none (120 a minute).",
)
@beat_option(
    "--beats",
    "beat_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Beats as a text file: seconds in the recording and position in the bar, one "
    "beat a line.",
)
@beat_option("--meter", metavar="3/4", help="Time signature.  [default: found]")
@model_option(
    "-m",
    "--model",
    type=click.Choice([AUTO, *MODELS]),
    help="What transcribes: piano or band, whose weights the package brings; auto, "
    "which listens to each recording and takes one of these; mt3 or ismir2021, token "
    "models of all instruments and of piano, which are fetched once; or what a "
    "checkpoint must be.  [default: what the checkpoint is; without one auto, where "
    "the package has weights for bands, or else piano]",
)
@model_option(
    "-c",
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Weights file, checkpoint or run folder.  [default: the package's weights]",
)
@model_option(
    "--offline", is_flag=True, help="Fetch nothing: weights must be there already."
)
@model_option(
    "--tuning",
    type=Tuning(),
    default=0.0,
    help="How many cents recordings are above A4 = 440 Hz, or auto, which listens to "
    "each; they are brought to 440 Hz.  [default: 0]",
)
@roll_option(
    "--onset-threshold",
    type=click.FloatRange(0, 1),
    help="Probability above which an onset counts: lower finds more notes.",
)
@roll_option(
    "--frame-threshold",
    type=click.FloatRange(0, 1),
    help="Probability above which a note continues: lower makes notes longer.",
)
@roll_option(
    "--drum-threshold",
    type=click.FloatRange(0, 1),
    help="Probability above which a drum counts: lower finds more. Of band models.",
)
@band_option(
    "-i",
    "--instruments",
    type=InstrumentList(),
    help="The instruments that there are, separated by commas: families (piano, "
    "strings, ...), drums, program numbers, names of General MIDI or of tracks that a "
    "band model writes. No others can be chosen, and one may be taken for another. Of "
    "band models, and where tokens are decoded.",
)
@band_option(
    "--decoder",
    type=click.Choice(["tokens", "rolls", "both"]),
    help="What notes of token models are made from; both: from tokens, with onsets "
    "and velocities from the rolls of models that have heads for them; rolls: no "
    "drums, all piano.  [default: tokens]",
)
@band_option(
    "--constrain",
    is_flag=True,
    help="Decode only tokens that make sense in a row; implied by -i.",
)
@band_option(
    "--beams",
    type=click.IntRange(min=1),
    help="Search for tokens with this many beams.  [default: 1, greedy]",
)
@machine_option(
    "--device",
    type=DeviceName(),
    help="Where to compute; gpu:1 is the second GPU.  [default: an accelerator if JAX "
    "finds one]",
)
@machine_option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Compute on this many of the CPUs.  [default: all]",
)
@machine_option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the network's arithmetic; bfloat16 is for accelerators.",
)
@click.option(
    "--watch",
    "watched",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Transcribe what is in a folder and what comes into it, until Ctrl-C.",
)
@machine_option(
    "--log",
    "log_form",
    type=click.Choice([*LOGS]),
    default="text",
    show_default=True,
    help="Messages on standard error: for people, or an object a line for programs.",
)
@machine_option(
    "-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors."
)
@click.pass_context
def command(ctx: click.Context, /, **values: Any) -> None:
    """Turn recordings into MIDI: piano, bands, or what a checkpoint is trained for.

    IN are sound files, folders (searched for sound files, with their subfolders),
    quoted patterns such as 'takes/**/*.wav', or - for standard input. The MIDI file of
    a.wav is a.mid beside it. Outputs that exist are kept unless --overwrite is given.

    A recording that cannot be transcribed is reported, the others are done all the
    same, and the exit code is 1.
    """
    log = LOGS[values.pop("log_form")](values.pop("quiet"))
    try:
        failed = _transcribe(ctx, log, values)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if not isinstance(log, JsonLog):
            raise
        log.error(error)
        failed = True
    ctx.exit(1 if failed else 0)


_OF_MODEL = (
    *("decoder", "instruments", "constrain", "beams", "tuning", "device", "precision"),
    *("onset_threshold", "frame_threshold", "drum_threshold"),
)
_OF_BEATS = ("tempo", "beat_file", "meter")
_OF_NOTES = ("min_duration_s", "lowest", "highest", "min_velocity")
# What outputs are made with. The same notes come from any device.
_RECORDED = (
    *("model", "checkpoint", "pedal", "start_s", "end_s", *_OF_NOTES, *_OF_BEATS),
    *(name for name in _OF_MODEL if name != "device"),
)


def _transcribe(ctx: click.Context, log: Log, values: Mapping[str, Any]) -> bool:
    """Transcribe; return whether something failed."""
    settings = _settings(ctx, values)
    models = Models(
        values["model"],
        values["checkpoint"],
        {name: values[name] for name in _OF_MODEL},
        pedal_events=values["pedal"] == "events",
        offline=values["offline"],
        log=log,
    )
    inputs, *outputs = _inputs_and_outputs(ctx, values)
    batch = Batch(log, settings)
    if values["threads"] is not None:
        from mt3x.models.platform import use_threads

        use_threads(values["threads"])
    if values["watched"] is None:
        found = find_recordings(inputs, batch.fail)
        _take(found, outputs, batch, models)
    else:
        from mt3x.cli.watch import watch

        folder = values["watched"]
        log.event("watch", f"watching {folder}; Ctrl-C ends it", folder=str(folder))
        for paths in watch(folder):
            found = {}
            for path in paths:
                found[path] = path.relative_to(folder)
            try:
                _take(found, outputs, batch, models)
            except ValueError as error:
                batch.fail(error)
    batch.report()
    return bool(batch.num_failed)


def _take(
    found: Mapping[Path | None, Path],
    outputs: Sequence[Any],
    batch: Batch,
    models: Models,
) -> None:
    """Transcribe what was found."""
    recordings = choose_outputs(found, *outputs) if found else []
    _check_extras(recordings)
    recordings = [recording for recording in recordings if batch.prepare(recording)]
    if recordings:
        # Here, so that wrong options and --help do not wait for JAX.
        from mt3x.models.memory import reuse_memory

        reuse_memory()
        models.check(any("rolls" in recording.outputs for recording in recordings))
        batch.run(recordings, models)


def _settings(ctx: click.Context, values: Mapping[str, Any]) -> Settings:
    start_s, end_s = values["start_s"] or 0.0, values["end_s"]
    if end_s is not None and end_s <= start_s:
        raise ValueError(
            f"the part from {start_s:g} to {end_s:g} s is empty: give an --end after "
            "the --start"
        )
    kept = {n: values[n] for n in _OF_NOTES if values[n] is not None}
    # What the user's own settings and presets bring is chosen, too.
    plain = click.Context(ctx.command)
    defaults = {param.name: param.get_default(plain) for param in ctx.command.params}
    return Settings(
        overwrite=values["overwrite"],
        start_s=start_s,
        end_s=end_s,
        keep=NoteFilter(**kept),
        beats=BeatChoice(values["tempo"], values["beat_file"], values["meter"]),
        pedal_events=values["pedal"] == "events",
        plot_theme=values["plot_theme"],
        chosen=as_json(
            {name: values[name] for name in _RECORDED if values[name] != defaults[name]}
        ),
    )


def _inputs_and_outputs(
    ctx: click.Context, values: Mapping[str, Any]
) -> tuple[Sequence[str], list[str] | None, str | None, Path | None]:
    """Return inputs, formats, output file and output folder."""
    inputs, output = values["inputs"], values["output"]
    formats, out_dir = values["formats"], values["out_dir"]
    if values["watched"] is not None:
        if inputs or output is not None:
            raise click.UsageError("--watch takes neither IN nor -o: give --out-dir")
        return inputs, formats, None, out_dir
    if not inputs:
        raise click.UsageError("name a recording, or see mt3x transcribe --help")
    if output is None:
        inputs, output = split_output(inputs)
    if output is not None:
        # A file that is named here stands above what is always wanted.
        if ctx.get_parameter_source("formats") == ParameterSource.DEFAULT_MAP:
            formats = None
        if ctx.get_parameter_source("out_dir") == ParameterSource.DEFAULT_MAP:
            out_dir = None
    if output is not None and out_dir is not None:
        raise click.UsageError("give an output file or --out-dir, not both")
    return inputs, formats, output, out_dir


def _check_extras(recordings: Sequence[Recording]) -> None:
    for name in sorted({name for each in recordings for name in each.outputs}):
        if missing := FORMATS[name].missing:
            raise ValueError(
                f"the format {name} needs {', '.join(missing)}: "
                f"pip install 'mt3x[{FORMATS[name].extra}]'"
            )
