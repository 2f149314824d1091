"""Training batches from SeqIO tasks: a function of the seed and the step."""

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import seqio

from mt3x.data.batches import rows_of
from mt3x.data.pipeline.converters import RollsFeatureConverter, TokensFeatureConverter
from mt3x.data.pipeline.registry import (
    TrainOptions,
    check_data,
    find_task,
    reading,
    with_options,
)


class TaskBatches:
    """Training batches of a task or mixture: a function of the seed and the step.

    The stream of batches begins again, with another seed, every `span_steps` steps: a
    run that resumes at a step reads no more than a span to find its place. That takes
    as long as reading for training.

    Of several processes each reads pieces of its own: its share of the files or, where
    there are fewer files than processes, of the records (`seqio.ShardInfo`).
    """

    def __init__(
        self,
        task: str,
        batch_size: int,
        num_frames: int = 256,
        max_tokens: int | None = 1024,
        seed: int = 0,
        split: str = "train",
        options: TrainOptions | None = None,
        use_cached: bool = False,
        shuffle_buffer: int | None = None,
        span_steps: int = 500,
        module: str = "mt3x.tasks",
        shard: tuple[int, int] = (0, 1),
    ):
        """Find the task and its records; they are read for the first batch.

        Args:
          task: name of a task or mixture.
          batch_size: examples per batch, B, of all processes together.
          num_frames: length of `inputs`, T.
          max_tokens: length of `targets`, L, with EOS; None for a roll task:
            its targets are as long as its inputs.
          seed: with the step, decides every batch.
          split: "train", or "eval" for segments of validation pieces.
          options: sub-mixes and the like. With labels, the batches of a token task
            have rolls, too.
          use_cached: read what SeqIO has cached (`seqio.add_global_cache_dirs`).
          shuffle_buffer: examples that are held back (of each task) to be shuffled;
            the first batch, and each span's, waits for them. None: the task's own.
          span_steps: how often the stream begins again.
          module: registers the task when it is imported.
          shard: this process and how many there are.

        Raises:
          ValueError: there is no such task, a number is not positive, or the batch does
            not divide over the processes.
          FileNotFoundError: there are no records, or the task is not cached; says where
            they are looked for.
        """
        for name, value in [
            ("batch_size", batch_size),
            ("num_frames", num_frames),
            ("max_tokens", max_tokens),
            ("shuffle_buffer", shuffle_buffer),
            ("span_steps", span_steps),
        ]:
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1: {value}")
        provider = find_task(task, module)
        check_data(provider, split, use_cached)
        self.task, self.batch_size, self.split = task, batch_size, split
        self.seed, self.span_steps = seed, span_steps
        options = options or TrainOptions()
        self._provider = with_options(provider, options, shuffle_buffer)
        self._lengths = {"inputs": num_frames, "targets": max_tokens or num_frames}
        self._converter = (
            TokensFeatureConverter(labels=options.labels)
            if max_tokens
            else RollsFeatureConverter()
        )
        self._use_cached = use_cached
        self._shard = seqio.ShardInfo(*shard)
        self._rows = len(rows_of(shard, batch_size))
        self._next_step = -1
        # The open stream, if any. TensorFlow's threads call Python: a stream that is
        # open when the interpreter ends hangs or crashes it.
        self._streams: list[Iterator[dict[str, np.ndarray]]] = []
        weakref.finalize(self, self._streams.clear)

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Return this process's part of a step's batch, as the converter describes it.

        Steps in rising order cost nothing extra.

        Raises:
          ValueError: a record is damaged, or of another layout, or there are too few.
        """
        if step != self._next_step or step % self.span_steps == 0:
            self._streams[:] = [self._stream(step)]
        self._next_step = -1  # an error ends the stream
        batch = self._next(self._streams[0])
        self._next_step = step + 1
        return batch

    def ids(self, step: int) -> list[str]:
        """Return each example's data set, piece and where it begins.

        The examples of a mix stand together. The stream is read again up to the step,
        so this takes as long as resuming a run there.
        """
        return [id.decode() for id in self._next(self._stream(step, only_ids=True))]

    def _next(self, stream: Iterator[Any]) -> Any:
        try:
            with reading(self.task):
                return next(stream)
        except StopIteration:
            number, count = self._shard.index, self._shard.num_shards
            raise ValueError(
                f"{self.task}: process {number} of {count} finds no examples in split "
                f"{self.split}; there are too few records for {count} processes"
            ) from None

    def _stream(self, step: int, only_ids: bool = False) -> Iterator[Any]:
        span, offset = divmod(step, self.span_steps)
        mixed = np.random.SeedSequence([self.seed, span]).generate_state(1)[0]
        # A task passes all features on.
        passing: dict[str, Any] = {}
        if isinstance(self._provider, seqio.Mixture):
            passing["passthrough_features"] = ["id"]
        dataset = self._provider.get_dataset(
            self._lengths,
            split=self.split,
            use_cached=self._use_cached,
            shuffle=True,
            seed=int(mixed) // 2,
            shard_info=self._shard,
            num_epochs=None,
            **passing,
        )
        if only_ids:
            dataset = dataset.map(lambda example: example["id"])
        else:
            dataset = self._converter(dataset, self._lengths)
        dataset = dataset.batch(self._rows, drop_remainder=True).skip(offset)
        return dataset.prefetch(2).as_numpy_iterator()
