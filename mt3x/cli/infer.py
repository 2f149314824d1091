"""`mt3x infer`: transcriptions of the pieces of a task."""

import click

from mt3x.cli import gin_options

HELP = """Transcribe the pieces of a task to MIDI.

\b
    mt3x infer --gin_file=infer.gin --gin_file=models/mt3_small.gin \\
        --gin_file=tasks/slakh.gin --gin.CHECKPOINT_PATH="'runs/mt3'" \\
        --gin.INFER_OUTPUT_DIR="'transcriptions'"

Instead of the model's gin file, that of an experiment or the operative_config.gin of a
run will do. INFER_OUTPUT_DIR gets a MIDI file for each piece and
a line in pieces.jsonl. Several runs share the work with
--gin.task_evaluation.Inference.num_shards=N and .shard_id=0 to N-1. The same command
resumes a run that was stopped. --gin.NAME=VALUE sets one parameter (text values in
quotes)."""


@click.command("infer", help=HELP, context_settings=gin_options.CONTEXT)
@gin_options.gin_options
@click.pass_context
def command(
    context: click.Context, gin_files: tuple[str, ...], search_paths: list[str]
) -> None:
    loaded = gin_options.load_program(
        "Inference", gin_files, search_paths, context.args
    )
    rows = loaded.program.run(loaded.objective, gin_options.piece_progress)
    notes = sum(row["notes"] for row in rows)
    click.echo(
        f"{loaded.program.output_dir}: {len(rows)} pieces, {notes} notes", err=True
    )
