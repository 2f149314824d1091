"""Damaged run folders and checkpoints: what was saved, or a line that names the folder.

Each case damages one file. Folders of mt3x come with checksums, and without, as earlier
versions wrote them.
"""

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutations
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tiny_models import SMALL, random_params

from mt3x.interop.t5x_checkpoints import read_config, read_t5x, write_config, write_t5x
from mt3x.models import checksums, weights_file
from mt3x.training.run_checkpoints import RunCheckpoints
from mt3x.training.run_folder import RunFolder
from mt3x.training.run_folder import write_config as write_run_config
from mt3x.training.run_log import read_curve

# Reads that Orbax began before it stumbled are never waited for.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
GOLDEN = Path(__file__).parents[1] / "golden"
PARAMS = random_params(SMALL)
CONFIG = {"objective": SMALL.to_dict()}
FLAT = weights_file.flatten(PARAMS)


def try_folder(
    read: Callable[[Path], Any], whole: Path, folder: Path, every: int = 1
) -> None:
    """Read a folder for each seed (of so many), with one of its files damaged or gone.

    Raises:
      AssertionError: a reader broke its promise; the message has the seed.
    """
    names = sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file())
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    for seed in mutations.seeds()[::every]:
        rng = np.random.default_rng((seed, 1))
        name = names[rng.integers(len(names))]
        data = (whole / name).read_bytes()
        other = (whole / names[rng.integers(len(names))]).read_bytes()
        if rng.random() < 0.05:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(mutations.mutated(seed, [data, data, other]))
        try:
            with mutations.limited():
                read(folder)
        except (ValueError, OSError) as error:
            line = str(error)
            assert folder.name in line, f"seed {seed}: {line} names no folder"
            assert "\n" not in line, f"seed {seed}: {line}"
            assert "alloc" not in line, f"seed {seed}: {line}"
        except BaseException as error:
            raise AssertionError(f"seed {seed}, {name}: {error!r}") from error
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def without_checksums(folder: Path) -> Path:
    """A copy of a folder as earlier versions wrote it."""
    copy = shutil.copytree(folder, folder.with_name(f"{folder.name}-older"))
    for path in copy.rglob(checksums.FILE_NAME):
        path.unlink()
    return copy


def check(params: Any, as_saved: bool) -> None:
    """What comes through is finite and, where there are checksums, what was saved."""
    flat = weights_file.flatten(params)
    assert all(np.isfinite(array).all() for array in flat.values())
    if as_saved:
        assert flat.keys() == FLAT.keys()
        for name, array in flat.items():
            np.testing.assert_array_equal(array, FLAT[name])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder of two steps with the same weights."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    progress = {"best_step": 1, "best_score": 0.5, "sums": {"loss": 1.5}, "count": 2}
    saver = RunCheckpoints(folder, keep=2)
    for step in (1, 2):
        saver.save(step, {"params": PARAMS}, {"count": np.int32(step)}, progress)
    saver.wait()
    saver.close()
    write_run_config(folder, CONFIG)
    (folder / "learning_curve.csv").write_text("step,loss\n1,0.5\n2,0.25\n")
    return folder


@pytest.mark.parametrize("as_saved", [True, False], ids=["new", "older"])
def test_run_folders(tmp_path, run, as_saved):
    def read(folder):
        assert RunFolder(folder).config
        read_curve(folder / "learning_curve.csv")
        check(weights_file.load(folder).params, as_saved)

    whole = run if as_saved else without_checksums(run)
    try_folder(read, whole, tmp_path / "damaged")


def test_resuming(tmp_path, run):
    """A damaged step is told, and the one before taken; the run never starts anew."""
    import jax

    template = jax.tree.map(jax.numpy.asarray, PARAMS)

    def read(folder):
        copy = shutil.copytree(folder, folder.with_name("damaged-copy"))
        try:
            saver = RunCheckpoints(copy, keep=2)
            lines: list[str] = []
            count = {"count": jax.numpy.int32(0)}
            found = saver.restore({"params": template}, count, lines.append)
            saver.close()
            assert found is not None
            check(found[1]["params"], as_saved=True)
            assert found[2]["count"] == found[0]
            assert found[0] == 2 or lines
        finally:
            shutil.rmtree(copy)

    try_folder(read, run, tmp_path / "damaged", every=4)


@pytest.mark.parametrize("as_saved", [True, False], ids=["new", "older"])
def test_checkpoint_folders(tmp_path, as_saved):
    whole = tmp_path / "whole"
    weights_file.save_checkpoint(whole, PARAMS, SMALL.to_dict(), {"step": "3"})
    whole = whole if as_saved else without_checksums(whole)
    try_folder(
        lambda folder: check(weights_file.load(folder).params, as_saved),
        whole,
        tmp_path / "damaged",
    )


@pytest.fixture(
    params=["older", "own", pytest.param("orbax", marks=pytest.mark.by_hand)]
)
def t5x(request, tmp_path):
    """Checkpoints of T5X in each of its forms, with a config beside."""
    folder = tmp_path / "t5x"
    if request.param == "older":
        with tarfile.open(GOLDEN / "t5x_tiny.tar.gz") as tar:
            tar.extractall(folder, filter="data")
        return folder
    if request.param == "own":
        write_t5x(folder, PARAMS, SMALL.to_dict(), 7)
        return folder
    folder.mkdir()
    state = {"target": PARAMS, "state": {"step": np.int32(7)}}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as saver:
        args = ocp.args.Composite(state=ocp.args.StandardSave(state))
        saver.save(folder / "checkpoint_7", args=args)
    write_config(folder, SMALL.to_dict())
    return folder


def test_t5x_checkpoints(tmp_path, t5x):
    def read(folder):
        params, step = read_t5x(folder)
        read_config(folder)
        assert step >= 0
        check(params, as_saved=False)

    try_folder(read, t5x, tmp_path / "damaged")
