"""`mt3x plan`: tell what a training step needs on a TPU slice, without the slice."""

import click

from mt3x.cli import gin_options

HELP = """Compile a training step for a TPU slice and print what it needs.

\b
    mt3x plan --gin_file=experiments/mt3_slakh.gin --topology v3-32 \\
        --batch-size 256 --gin.train.TrainConfig.microbatches=2

Nothing is run and no TPU is needed, but libtpu is (pip install libtpu). With
--devices N it is compiled for N CPU devices instead. A full-size model takes
minutes."""


@click.command(
    help=HELP,
    context_settings=gin_options.CONTEXT,
)
@gin_options.gin_options
@click.option("--topology", metavar="NAME", help="Such as v3-32, or v4:2x2x4 (chips).")
@click.option("--devices", type=click.IntRange(min=1), help="CPU devices instead.")
@click.option("--batch-size", type=click.IntRange(min=1), required=True)
@click.option(
    "--num-frames",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Of a piano model's clip; of a generator its tokens.",
)
@click.option(
    "--utilization",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.4,
    show_default=True,
    help="Part of the peak FLOP/s that the step time is reckoned with.",
)
@click.option(
    "--fit", is_flag=True, help="Find the fewest microbatches that fit the memory."
)
@click.pass_context
def command(
    context: click.Context,
    gin_files: tuple[str, ...],
    search_paths: list[str],
    topology: str | None,
    devices: int | None,
    batch_size: int,
    num_frames: int,
    utilization: float,
    fit: bool,
) -> None:
    bindings = gin_options.gin_bindings(context.args)
    if not gin_files:
        raise ValueError("mt3x plan needs a --gin_file: a model's or an experiment's")
    if (topology is None) == (devices is None):
        raise ValueError("give either --topology or --devices")
    if fit and topology is None:
        raise ValueError("--fit needs a --topology, as its memory is known")
    import jax

    from mt3x import config

    jax.config.update("jax_platforms", "cpu")
    experiment = config.load(gin_files, bindings, search_paths)
    from mt3x.training.plan import fewest_microbatches, plan_step, tpu_devices

    chip, found = None, None
    if topology is not None:
        chip, found = tpu_devices(topology)
    else:
        jax.config.update("jax_num_cpu_devices", devices)
        found = jax.devices()
    job = (experiment.objective, experiment.train, batch_size, found, chip, num_frames)
    try:
        if fit:
            train, made = fewest_microbatches(*job)  # pyright: ignore
            click.echo(f"microbatches    {train.microbatches}")
        else:
            made = plan_step(*job)
    except MemoryError as error:
        raise ValueError(
            f"{error}; raise microbatches, set remat, or take more devices"
        ) from error
    click.echo("\n".join(_lines(made, utilization)))


def _lines(plan, utilization: float) -> list[str]:
    lines = [
        f"devices         {plan.devices}",
        f"state and batch {plan.arguments / 2**20:.0f} MiB a device",
        f"temporaries     {plan.temporaries / 2**20:.0f} MiB a device",
    ]
    if plan.chip is not None:
        lines.append(
            f"memory          {plan.memory / 2**30:.2f} of "
            f"{plan.chip.hbm_gib / plan.chip.devices:.0f} GiB a device"
        )
    lines.append(
        f"FLOPs           {plan.flops:.3g} a step, "
        f"{plan.flops / plan.devices:.3g} a device"
    )
    if plan.chip is not None:
        lines.append(
            f"step time       {plan.compute_s(utilization):.3f} s of products at "
            f"{utilization:.0%} of the peak"
        )
    return lines
