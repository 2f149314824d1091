"""`mt3x eval`: the scores of a checkpoint on an evaluation task."""

import click

from mt3x.cli import gin_options

HELP = """Transcribe and score the pieces of an evaluation task.

\b
    mt3x eval --gin_file=eval.gin --gin_file=models/mt3_small.gin \\
        --gin_file=tasks/slakh.gin --gin.CHECKPOINT_PATH="'runs/mt3'" \\
        --gin.EVAL_OUTPUT_DIR="'scores'"

Instead of the model's gin file, that of an experiment or the operative_config.gin of a
run will do. All scores of `mt3x evaluate --integrated` are printed and
written to EVAL_OUTPUT_DIR, as JSON and CSV. The same command resumes a run that was
stopped. --gin.NAME=VALUE sets one parameter (text values in quotes)."""


@click.command("eval", help=HELP, context_settings=gin_options.CONTEXT)
@gin_options.gin_options
@click.pass_context
def command(
    context: click.Context, gin_files: tuple[str, ...], search_paths: list[str]
) -> None:
    loaded = gin_options.load_program(
        "Evaluation", gin_files, search_paths, context.args
    )
    results = loaded.program.run(loaded.objective, gin_options.piece_progress)
    from mt3x.evaluation.tables import print_tables
    from mt3x.music.metrics import FRAME_RATE_HZ

    for task, pieces in results.items():
        click.echo(f"{task}: {loaded.program.output_dir}/{task}.json, .csv")
        print_tables(pieces, FRAME_RATE_HZ)
