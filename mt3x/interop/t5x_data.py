"""Our tasks under T5X (github google-research/t5x): those of `mt3x.data.pipeline`."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from clu.data import dataset_iterator
from etils import epath
from jax.experimental import multihost_utils
from t5x import utils  # pyright: ignore[reportMissingImports]

from mt3x.data import pipeline
from mt3x.data.pipeline.registry import OWN_MODULE, check_data
from mt3x.interop.t5x_bindings import check_bindings
from mt3x.models.objectives import ModelConfig
from mt3x.training.experiment import TaskConfig, check_task, train_options


def checked_task(
    task: str,
    objective: ModelConfig,
    split: str,
    use_cached: bool = False,
    module: str | None = None,
) -> str:
    """Return the name of a task, once all is there that a run will ask of it.

    Args:
      task: name of a task or mixture.
      objective: what the model reads and writes.
      split: the split that is to be read.
      use_cached: whether SeqIO's cache is read, not the records.
      module: registers the task when it is imported; None for mt3x's own.

    Raises:
      ValueError: there is no such task, or it does not fit the model.
      OSError: its records are missing.
    """
    module = module or OWN_MODULE
    check_task(task, module, objective)
    found = pipeline.find_task(task, module)
    check_data(found, split, use_cached)
    pipeline.register_again(found)  # T5X finds it by its name, which MT3's may have
    return task


def get_dataset(
    cfg: Any,
    shard_id: int,
    num_shards: int,
    feature_converter_cls: Callable[..., Any],
    *unused: Any,
    objective: ModelConfig,
    max_examples_per_mix: int | None = None,
) -> "StepBatches":
    """Return the batches of `mt3x train`, as T5X's `get_dataset_fn`.

    Args:
      cfg: T5X's DatasetConfig; `seed` None is a new one in each run.
      shard_id, num_shards: this process's part of each batch.
      feature_converter_cls: the model's.
      unused: what T5X has defaults for.
      objective: what the model reads and writes.
      max_examples_per_mix: train on mixes of 1 to this many examples; None: of one.

    Raises:
      ValueError: gin binds what has no effect.
    """
    check_bindings()
    _set_options(cfg, train_options(objective, max_examples_per_mix))
    dataset = utils.get_dataset(
        cfg, shard_id, num_shards, _for_training(feature_converter_cls, objective)
    )
    seed = cfg.seed
    if seed is None:
        seed = int(multihost_utils.broadcast_one_to_all(np.int32(time.time())))
    task = TaskConfig(
        task=cfg.mixture_or_task_name,
        module=cfg.module or OWN_MODULE,
        batch_size=cfg.batch_size,
        clip_frames=cfg.task_feature_lengths["inputs"],
        max_examples_per_mix=max_examples_per_mix,
        use_cached=cfg.use_cached,
        seed=seed,
    )
    batches = task.make_batches(objective, (shard_id, num_shards))
    return StepBatches(batches.batch, dataset.element_spec)


def get_training_eval_datasets(
    cfg: Any,
    shard_id: int,
    num_shards: int,
    eval_steps: int,
    feature_converter_cls: Callable[..., Any],
    *args: Any,
    objective: ModelConfig,
    max_examples_per_mix: int | None = None,
    **kwargs: Any,
) -> Any:
    """Call T5X's own function with the options of our training tasks."""
    converter = _for_training(feature_converter_cls, objective)
    _set_options(cfg, train_options(objective, max_examples_per_mix))
    return utils.get_training_eval_datasets(
        cfg, shard_id, num_shards, eval_steps, converter, *args, **kwargs
    )


class StepBatches(dataset_iterator.DatasetIterator):
    """The batches as T5X takes them; a checkpoint holds the number of the next one."""

    def __init__(
        self, batch: Callable[[int], Any], spec: Mapping[str, tf.TensorSpec]
    ) -> None:
        self._batch, self._spec = batch, spec
        self._next_step = 0
        # T5X looks at a batch in advance and saves before its first step, in any order.
        self._is_new = True

    def __next__(self) -> dict[str, np.ndarray]:
        self._next_step += 1
        return self._batch(self._next_step - 1)

    def reset(self) -> None:
        self._next_step = 0

    @property
    def element_spec(self) -> dict[str, dataset_iterator.ArraySpec]:
        return {
            name: dataset_iterator.ArraySpec(
                dtype=spec.dtype.as_numpy_dtype, shape=tuple(spec.shape)
            )
            for name, spec in self._spec.items()
        }

    def save(self, filename: Any) -> None:
        epath.Path(filename).write_text(str(0 if self._is_new else self._next_step))
        self._is_new = False

    def restore(self, filename: Any) -> None:
        self._next_step = int(epath.Path(filename).read_text())
        self._is_new = False


def _set_options(cfg: Any, options: pipeline.TrainOptions) -> None:
    """Give the registered task the options of this run: T5X asks for it by name."""
    task = pipeline.find_task(cfg.mixture_or_task_name, cfg.module or OWN_MODULE)
    pipeline.register_again(pipeline.with_options(task, options))


def _for_training(
    feature_converter_cls: Callable[..., Any], objective: ModelConfig
) -> Callable[..., Any]:
    """Return the converter of a training task, which may give rolls as well.

    Evaluation tasks have no rolls of segments.
    """
    return functools.partial(feature_converter_cls, **objective.converter_options())
