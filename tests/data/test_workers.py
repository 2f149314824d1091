"""Batches of other processes: the same ones, errors that say so, none left behind."""

import itertools
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from toy_corpus import PLAIN, write
from worker_calls import die_in_the_middle_of_a_result, square

from mt3x.data.batches import CorpusBatches
from mt3x.data.workers import in_processes, in_workers


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    return CorpusBatches([write(folder / "a", 40)], config=PLAIN, seed=3)


def test_a_pickled_corpus_is_a_name(batches):
    (corpus,) = batches.corpora
    data = pickle.dumps(corpus)
    assert len(data) < 500
    np.testing.assert_array_equal(pickle.loads(data).samples(1), corpus.samples(1))


def test_batches_are_the_same(batches):
    with in_workers(batches, 2) as ahead:
        for step in range(5, 12):
            expected, batch = batches.batch(step), ahead.batch(step)
            assert batch.keys() == expected.keys()
            for name, array in expected.items():
                np.testing.assert_array_equal(batch[name], array)
            assert ahead.ids(step) == batches.ids(step)
    assert not multiprocessing.active_children()


def test_what_a_batch_raises_is_raised(batches):
    with in_workers(batches, 1) as ahead, pytest.raises(ValueError, match="negative"):
        ahead.batch(-1)


def test_a_worker_that_dies_is_named(batches):
    with in_workers(batches, 1) as ahead:
        ahead.batch(0)
        (worker,) = multiprocessing.active_children()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(ChildProcessError, match=r"fewer DataConfig\.workers"):
            for step in range(1, 20):
                ahead.batch(step)


@pytest.mark.parametrize("number", [1, 3])
def test_results_come_in_order(number):
    with in_processes(square, number, "none") as processes:
        assert list(processes.results([(n,) for n in range(10)])) == [
            n * n for n in range(10)
        ]
        endless = processes.results((n,) for n in itertools.count(4))
        assert [next(endless) for _ in range(9)] == [n * n for n in range(4, 13)]
        with pytest.raises(ValueError, match="unlucky"):
            next(endless)
    assert not multiprocessing.active_children()


def test_a_process_killed_in_the_middle_of_a_result_is_told():
    with in_processes(die_in_the_middle_of_a_result, 2, "use less") as processes:
        results = processes.results((n,) for n in itertools.count())
        for _ in range(3):
            next(results)
        time.sleep(1.5)
        with pytest.raises(ChildProcessError, match="out of memory: use less"):
            for _ in range(20):
                next(results)
    assert not multiprocessing.active_children()


PROGRAM = """
import multiprocessing, pickle, sys, time
from mt3x.data.workers import in_workers
if __name__ == "__main__":
    batches = pickle.load(open(sys.argv[1], "rb"))
    with in_workers(batches, 1) as ahead:
        ahead.batch(0)
        print(multiprocessing.active_children()[0].pid, flush=True)
        time.sleep(60)
"""


def test_workers_end_with_a_killed_parent(batches, tmp_path):
    (tmp_path / "batches").write_bytes(pickle.dumps(batches))
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, tmp_path / "program.py", tmp_path / "batches"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError(f"process {worker} lives on")
