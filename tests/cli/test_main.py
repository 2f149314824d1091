"""The command around the commands: errors, streams and signals."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import click
import pytest
from click.testing import CliRunner

from mt3x.cli import main as module
from mt3x.cli.main import main


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs `mt3x test`, which calls a function; returns exit code and both outputs."""

    def call(function):
        command = click.Command("test", callback=function)
        monkeypatch.setattr(module.LazyGroup, "get_command", lambda *_: command)
        monkeypatch.setattr(sys, "argv", ["mt3x", "test"])
        with pytest.raises(SystemExit) as exit_:
            main()
        return exit_.value.code or 0, *capsys.readouterr()

    return call


def raising(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a\nb"), "a b"),
        (OSError("no \udce9"), "no \\udce9"),
        (MemoryError("9 GiB"), "out of memory (9 GiB)"),
        (
            ModuleNotFoundError("No module", name="apache_beam.io"),
            "this command needs apache_beam, which is not installed: pip install "
            "'mt3x[data]'",
        ),
        (
            ModuleNotFoundError("No module", name="other"),
            "this command needs other, which is not installed: pip install 'other'",
        ),
        (
            ModuleNotFoundError("pictures: pip install 'mt3x[plot]'"),
            "pictures: pip install 'mt3x[plot]'",
        ),
        (
            RuntimeError("Unable to initialize backend 'tpu': none"),
            "JAX cannot start with JAX_PLATFORMS=tpu: unset it (Unable to initialize "
            "backend 'tpu': none)",
        ),
        (
            BrokenProcessPool("one died"),
            "a process was killed, perhaps out of memory: run again with fewer "
            "processes (one died)",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_line(run, monkeypatch, error, line):
    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    assert run(raising(error)) == (1, "", f"error: {line}\n")


@pytest.mark.parametrize(
    "error", [RuntimeError("a fault"), ModuleNotFoundError("x", name="mt3x.gone")]
)
def test_our_own_faults_are_not_hidden(monkeypatch, error):
    command = click.Command("test", callback=raising(error))
    monkeypatch.setattr(module.LazyGroup, "get_command", lambda *_: command)
    monkeypatch.setattr(sys, "argv", ["mt3x", "test"])
    with pytest.raises(type(error), match=str(error)):
        main()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["transcibe", "a.wav"], "did you mean `mt3x transcribe`?"),
        (["a.wav", "-f", "csv"], "did you mean `mt3x transcribe a.wav -f csv`?"),
        (["https://x"], "did you mean `mt3x transcribe https://x`?"),
        (["xyz"], "`mt3x -h` lists them"),
    ],
)
def test_what_may_have_been_meant(monkeypatch, capsys, words, hint):
    monkeypatch.setattr(sys, "argv", ["mt3x", *words])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    err = capsys.readouterr().err
    assert f"there is no command {words[0]!r}; {hint}" in err


@pytest.mark.parametrize("name", ["corpus", "import"])
def test_lines_of_commands_are_not_cut(name):
    result = CliRunner().invoke(module.group, [name, "-h"])
    assert result.exit_code == 0 and "..." not in result.output.replace("]...", "")


def test_help_has_sections_and_examples():
    output = CliRunner().invoke(module.group, ["transcribe", "-h"]).output
    titles = ("Output:", "Model:", "Machine and messages:", "Other options:")
    places = [output.index(f"\n{title}\n") for title in titles]
    assert places == sorted(places) and "mt3x transcribe song.mp3 out.mid" in output


def test_exit_codes_pass(run):
    assert run(lambda: None)[0] == 0
    assert run(lambda: sys.exit(3))[0] == 3


PROGRAM = """
import sys, time, click
from mt3x.cli import main
from mt3x.files import write_whole

def function():
    {body}

command = click.Command("test", callback=function)
main.LazyGroup.get_command = lambda *_: command
sys.argv = ["mt3x", "test"]
main.main()
"""
WAITING = """
    with write_whole("a.txt") as file:
        file.write(b"half")
        print("ready", flush=True)
        time.sleep(60)
"""


def start(body, tmp_path, shell="exec", **options):
    (tmp_path / "program.py").write_text(PROGRAM.format(body=body.strip()))
    line = f"{shell} {sys.executable} program.py"
    return subprocess.Popen(
        ["bash", "-c", line], cwd=tmp_path, text=True, stdout=subprocess.PIPE, **options
    )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_signals_leave_no_file_behind(tmp_path, name):
    with start(WAITING, tmp_path, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        assert len(list(tmp_path.glob(".*.part"))) == 1
        process.send_signal(getattr(signal, name))
        _, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    expected = 1 if name == "SIGINT" else -getattr(signal, name)
    assert process.returncode == expected
    assert os.listdir(tmp_path) == ["program.py"]


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    with start(WAITING, tmp_path, "exec nohup", stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert process.poll() is None
        process.kill()


def test_nothing_is_written_into_files_in_place_of_a_closed_stream(tmp_path):
    body = """
    import os
    with write_whole("a.txt") as file:
        os.write(2, b"what a library reports")
        file.write(b"mine")
    print("to standard error", file=sys.stderr)
    """
    with start(body, tmp_path, stdin=subprocess.DEVNULL) as process:
        process.wait()
    (tmp_path / "a.txt").unlink()
    for closed in ("0<&- 1>&- 2>&-", "2>&-", "1>&- 2>&-"):
        line = f"{sys.executable} program.py {closed}"
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True)
        assert done.returncode == 0 and done.stdout == b""
        assert (tmp_path / "a.txt").read_bytes() == b"mine"
        (tmp_path / "a.txt").unlink()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_standard_output_is_one_line(tmp_path):
    with start('print("scores")', tmp_path) as process:
        assert process.communicate()[0] == "scores\n"
    line = f"{sys.executable} program.py > /dev/full"
    for unbuffered in ("", "1"):
        env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert done.stderr.startswith("error: ") and "No space left" in done.stderr


def test_any_name_can_be_printed(tmp_path):
    with start(r'print("caf\udce9")', tmp_path) as process:
        assert process.communicate()[0] == "caf\\udce9\n"
    assert process.returncode == 0
