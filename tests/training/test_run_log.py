"""The learning curve and TensorBoard's file: damage, and disks that are full."""

import pytest

from mt3x.training.run_log import RunLog, read_curve


def write(tmp_path, text):
    path = tmp_path / "learning_curve.csv"
    path.write_bytes(text.encode("latin-1"))
    return path


def test_rows_have_what_their_step_measured(tmp_path):
    path = write(tmp_path, "step,loss,score\n1,0.5,\n2,nan,0.25\n")
    first, second = read_curve(path)
    assert first == {"step": 1.0, "loss": 0.5}
    assert second["score"] == 0.25
    assert read_curve(write(tmp_path, "")) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("step,loss\n1,0.5\n2", 3),
        ("step,loss\n1,0.5,3\n", 2),
        ("step,loss\n1,0.5\nx,0.5\n", 3),
        ("step,loss\n1,half\n", 2),
        ("step,loss\n,0.5\n", 2),
        ("step,loss\n1.5,0.5\n", 2),
        ("step,loss\n-1,0.5\n", 2),
        ("step,loss\nnan,0.5\n", 2),
        ("step,loss\ninf,0.5\n", 2),
        ("loss\n0.5\n", 2),
        ('step,loss\n1,"0.5\n', None),
        ("step,loss\n1,\xff\n", None),
        ("step,loss\n1," + 200_000 * "1", None),
    ],
)
def test_damaged_rows_are_named(tmp_path, text, line):
    where = "" if line is None else f"line {line} is damaged"
    with pytest.raises(ValueError, match=rf"learning_curve\.csv: .*{where}") as error:
        read_curve(write(tmp_path, text))
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("method", ["write_event", "flush"])
def test_a_full_disk_is_told_by_its_folder(tmp_path, monkeypatch, method):
    from tensorboardX.event_file_writer import EventsWriter

    log = RunLog(tmp_path, last_step=2)

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mt3x.training.run_log._FLUSH_S", -1.0)
        patch.setattr(EventsWriter, method, fail)
        with pytest.raises(OSError, match=r"cannot write .*tensorboard: No space left"):
            log.add(1, {"loss": 0.5})
    log.close()
