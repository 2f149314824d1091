"""Training batches from SeqIO tasks: a function of the seed and the step."""

import re
from collections.abc import Iterator

import numpy as np
import seqio
import tensorflow as tf

from mt3x.converters import RollsFeatureConverter, TokensFeatureConverter
from mt3x.task_registry import TrainOptions, find_task, train_options


class TaskBatches:
    """Training batches of a task or mixture: a function of the seed and the step.

    The stream of batches begins anew, with another seed, every `span_steps` steps: a
    run that goes on at a step reads no more than a span to find its place.
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
        shuffle_buffer: int = seqio.SHUFFLE_BUFFER_SIZE,
        span_steps: int = 2000,
        module: str = "mt3x.tasks",
    ):
        """Finds the task; data are read when the first batch is asked for.

        Args:
          task: name of a task or mixture.
          batch_size: examples per batch, B.
          num_frames: length of `inputs`, T.
          max_tokens: length of `targets`, L, with EOS; None for a roll task, whose
            targets are as long as its inputs.
          seed: with the step, decides every batch.
          split: "train", or "eval" for chunks of validation pieces.
          options: sub-mixes and the like.
          use_cached: read what SeqIO has cached (`seqio.add_global_cache_dirs`).
          shuffle_buffer: examples that are held back (of each task) to be shuffled;
            the first batch, and each span's, waits for them.
          span_steps: how often the stream begins anew.
          module: registers the task when it is imported.

        Raises:
          ValueError: there is no such task, or a number is not positive.
        """
        for name, value in [
            ("batch_size", batch_size),
            ("num_frames", num_frames),
            ("max_tokens", 1 if max_tokens is None else max_tokens),
            ("shuffle_buffer", shuffle_buffer),
            ("span_steps", span_steps),
        ]:
            if value < 1:
                raise ValueError(f"{name} must be at least 1: {value}")
        find_task(task, module)
        self._provider = _with_buffer(seqio.get_mixture_or_task(task), shuffle_buffer)
        self.task, self.batch_size, self.split = task, batch_size, split
        self.seed, self.span_steps = seed, span_steps
        self._lengths = {"inputs": num_frames, "targets": max_tokens or num_frames}
        self._converter = (
            TokensFeatureConverter() if max_tokens else RollsFeatureConverter()
        )
        self._options = options or TrainOptions()
        self._use_cached = use_cached
        self._next_step = -1
        self._batches: Iterator[dict[str, np.ndarray]] = iter(())

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """The batch of a step, as `TokensFeatureConverter` describes it, stacked.

        Steps in rising order cost nothing extra.

        Raises:
          FileNotFoundError: there are no records; says where they are looked for.
          ValueError: a record is damaged, or of another layout.
        """
        span, offset = divmod(step, self.span_steps)
        if step != self._next_step or offset == 0:
            self._batches = self._stream(span, skip=offset)
        self._next_step = step + 1
        try:
            return next(self._batches)
        except tf.errors.OpError as error:
            self._next_step = -1
            # The first line has the reason, behind the names of TensorFlow's nodes.
            reason = (error.message or str(error)).strip().splitlines()[0]
            reason = re.sub(r".*(\}\} |Iterator::\S+: )", "", reason)
            raise ValueError(f"{self.task}: a record can not be used: {reason}") from (
                error
            )

    def _stream(self, span: int, skip: int) -> Iterator[dict[str, np.ndarray]]:
        mixed = np.random.SeedSequence([self.seed, span]).generate_state(1)[0]
        with train_options(self._options):
            dataset = seqio.get_dataset(
                mixture_or_task_name=self._provider,
                task_feature_lengths=self._lengths,
                feature_converter=self._converter,
                dataset_split=self.split,
                use_cached=self._use_cached,
                shuffle=True,
                num_epochs=None,
                seed=int(mixed) // 2,
                verbose=False,
            )
        dataset = dataset.batch(self.batch_size, drop_remainder=True).skip(skip)
        return dataset.prefetch(2).as_numpy_iterator()


def _with_buffer(
    provider: seqio.Task | seqio.Mixture, shuffle_buffer: int
) -> seqio.Task | seqio.Mixture:
    """The same task or mixture with another shuffle buffer."""
    if isinstance(provider, seqio.Task):
        return provider.replace(shuffle_buffer_size=shuffle_buffer)
    tasks = [
        (_with_buffer(task, shuffle_buffer), provider.get_rate(task))
        for task in provider.tasks
    ]
    return seqio.Mixture(provider.name, tasks)
