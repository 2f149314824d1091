"""What notebooks need: in Colab, played by a fake module, and elsewhere."""

import base64
import io
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
from file_server import served
from tiny_models import save_small_weights

from mt3x import notebook
from mt3x.inference import model_choice
from mt3x.inference.transcriber import Transcriber
from mt3x.music.notes import Notes

RATE = notebook.SAMPLE_RATE_HZ


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def colab(monkeypatch):
    """A fake `google.colab`; its parts get functions from the tests."""
    parts = {
        name: types.SimpleNamespace() for name in ("files", "output", "drive", "auth")
    }
    module = types.ModuleType("google.colab")
    vars(module).update(parts)
    monkeypatch.setitem(sys.modules, "google.colab", module)
    return module


def wav_bytes(samples_S, rate_hz=RATE):
    file = io.BytesIO()
    soundfile.write(file, samples_S, rate_hz, format="WAV")
    return file.getvalue()


def test_the_example_is_a_recording():
    assert soundfile.info(notebook.example()).duration > 10


def test_upload_asks_for_a_path_or_a_pattern(monkeypatch):
    for name in ("b.wav", "a.wav", "c.mp3"):
        Path(name).touch()
    asked = []
    monkeypatch.setattr("builtins.input", lambda text: asked.append(text) or " *.wav ")
    found = notebook.upload()
    assert found == [Path("a.wav"), Path("b.wav")] and len(asked) == 1
    with pytest.raises(FileNotFoundError, match="run the cell again"):
        monkeypatch.setattr("builtins.input", lambda text: "missing.wav")
        notebook.upload()


def test_upload_in_colab(colab):
    colab.files.upload = lambda: {"take 1.mp3": b"", "b.wav": b""}
    assert notebook.upload() == [Path("take 1.mp3"), Path("b.wav")]
    colab.files.upload = dict
    with pytest.raises(FileNotFoundError, match="no file was chosen"):
        notebook.upload()


def test_record_in_colab_takes_what_the_browser_sends(colab):
    data = wav_bytes(np.zeros(100))
    scripts = []
    colab.output.eval_js = lambda script: (
        scripts.append(script) or base64.b64encode(data)
    )
    assert notebook.record(2.5).read_bytes() == data
    assert scripts[0].endswith(f"(2.5, {RATE})")
    colab.output.eval_js = lambda script: "no microphone"
    with pytest.raises(OSError, match="does not record: no microphone"):
        notebook.record(2.5)
    assert Path("recording.wav").read_bytes() == data


@pytest.mark.parametrize("is_allowed", [True, False])
def test_record_in_a_browser(launch_chromium, colab, folder, is_allowed):
    """Its microphone plays a file: a tone comes back as a WAV of the asked length."""
    tone_S = 0.5 * np.sin(2 * np.pi * 440 * np.arange(10 * 48000) / 48000)
    Path("tone.wav").write_bytes(wav_bytes(tone_S, 48000))
    flags = ["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream"]
    flags += [f"--use-file-for-fake-audio-capture={folder / 'tone.wav'}"]
    if is_allowed:
        flags.append("--use-fake-ui-for-media-stream")
    with launch_chromium(args=flags) as browser:
        page = browser.new_context().new_page()
        # Microphones are for secure pages, as those of this machine are.
        page.route("**/*", lambda route: route.fulfill(body="<body>"))
        page.goto("http://localhost:1/")
        colab.output.eval_js = page.evaluate
        if is_allowed:
            samples_S, rate_hz = soundfile.read(notebook.record(1.0))
            assert rate_hz == RATE and 0.7 < len(samples_S) / RATE < 1.5
            middle_S = samples_S[RATE // 4 : -RATE // 4]
            spectrum = np.abs(np.fft.rfft(middle_S))
            found_hz = spectrum.argmax() * RATE / len(middle_S)
            assert abs(found_hz - 440) < 5 and np.abs(middle_S).max() > 0.1
            assert page.locator("button").count() == 0
        else:
            with pytest.raises(OSError, match="NotAllowedError"):
                notebook.record(1.0)


def test_record_elsewhere(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ModuleNotFoundError, match="pip install sounddevice"):
        notebook.record(0.5)

    def rec(num_samples, samplerate, channels):
        assert (samplerate, channels) == (RATE, 1)
        return np.full((num_samples, 1), 0.25, np.float32)

    def refuse(*_, **__):
        raise PortAudioError("no device")

    PortAudioError = type("PortAudioError", (Exception,), {})
    fake = types.SimpleNamespace(
        rec=rec, wait=lambda: None, PortAudioError=PortAudioError
    )
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    samples_S, rate_hz = soundfile.read(notebook.record(0.5, "take.wav"))
    assert (len(samples_S), rate_hz) == (RATE // 2, RATE)
    np.testing.assert_allclose(samples_S, 0.25, atol=1e-3)
    fake.rec = refuse
    with pytest.raises(OSError, match="microphone cannot be used: no device"):
        notebook.record(0.5)


@pytest.fixture
def address(tmp_path_factory):
    """A server of a file of 300,000 bytes."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "a b.wav").write_bytes(bytes(300_000))
    with served(folder) as address:
        yield address


def test_fetch(address):
    path = notebook.fetch(f"{address}a%20b.wav?x=1", max_mb=0.3)
    assert path == Path("a b.wav") and path.stat().st_size == 300_000
    path.write_bytes(b"older")
    with pytest.raises(ValueError, match=r"larger than 0\.2 MB"):
        notebook.fetch(f"{address}a%20b.wav", max_mb=0.2)
    with pytest.raises(OSError, match=r"missing\.wav cannot be downloaded: File not"):
        notebook.fetch(f"{address}missing.wav")
    assert [x.name for x in Path().iterdir()] == ["a b.wav"]
    assert path.read_bytes() == b"older"


def test_a_download_that_breaks_off_leaves_no_file():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n123")

        threading.Thread(target=answer, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.wav"
        with pytest.raises(OSError, match=r"a\.wav cannot be .*: it breaks off"):
            notebook.fetch(address)
    assert not list(Path().iterdir())


@pytest.mark.parametrize("wrong", ["a.wav", "file:///etc/passwd", "ftp://host/a.wav"])
def test_fetch_is_for_the_web(wrong):
    with pytest.raises(ValueError, match="begins with https:"):
        notebook.fetch(wrong)


def test_names_from_addresses_stay_in_the_folder(address):
    with pytest.raises(OSError, match="cannot be downloaded"):
        notebook.fetch(f"{address}x/..%2F..%2Fup.wav")
    assert notebook.fetch(address) == Path("recording")


def test_download(colab, monkeypatch, capsys):
    given = []
    colab.files.download = given.append
    with pytest.raises(FileNotFoundError, match=r"a\.mid: no such file"):
        notebook.download("a.mid")
    Path("a.mid").touch()
    notebook.download(Path("a.mid"))
    assert given == ["a.mid"] and not capsys.readouterr().out
    monkeypatch.delitem(sys.modules, "google.colab")
    notebook.download("a.mid")
    assert capsys.readouterr().out == f"{Path('a.mid').resolve()}\n"


def test_a_folder_that_stays(folder):
    assert notebook.drive_folder("runs") == folder / "runs"
    assert (folder / "runs").is_dir()


def test_a_folder_in_drive(colab, folder, monkeypatch):
    monkeypatch.setattr(notebook, "DRIVE", folder / "drive")
    mounted = []
    colab.drive.mount = mounted.append
    found = notebook.drive_folder("mt3x")
    assert found == folder / "drive" / "MyDrive" / "mt3x" and found.is_dir()
    assert mounted == [str(folder / "drive")]


def test_sign_in(colab, monkeypatch, capsys):
    signed = []
    colab.auth.authenticate_user = lambda: signed.append(True)
    notebook.sign_in()
    monkeypatch.delitem(sys.modules, "google.colab")
    notebook.sign_in()
    assert signed == [True] and "gcloud auth login" in capsys.readouterr().out


def test_player_shows_notes_and_recording():
    notes = Notes([0.1], [0.5], [60])
    alone = notebook.player(notes)._repr_html_()
    both = notebook.player(notes, np.zeros(RATE), RATE)._repr_html_()
    assert "original" in both and "original" not in alone


def test_transcribe(monkeypatch):
    weights = save_small_weights(Path("small.safetensors"))
    Path("a.wav").write_bytes(wav_bytes(np.random.default_rng(0).normal(0, 0.1, RATE)))
    options = {"onset_threshold": 0.4}
    found = notebook.transcribe("a.wav", weights, **options)
    assert found.equals(Transcriber(weights, **options)("a.wav"))

    asked = []
    monkeypatch.setattr(
        model_choice,
        "choose_model",
        lambda band, audio: asked.append((band.kind, audio)) or "piano",
    )
    monkeypatch.setattr(
        Transcriber, "__call__", lambda self, audio, on_progress: self.kind
    )
    assert notebook.transcribe("a.wav") == "piano model"
    assert asked == [("band model", "a.wav")]
    assert notebook.transcribe("a.wav", "band") == "band model"


def test_run_prints_the_command_and_what_it_says(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    code = "import os, sys; print(os.environ.get('FORCE_COLOR')); print(sys.executable)"
    notebook.run(f'python\n    -c "{code}; sys.stderr.write(sys.argv[1])"\n "a b"')
    out = capsys.readouterr().out
    assert out.startswith("$ python -c ") and out.splitlines()[0].endswith("'a b'")
    assert out.splitlines()[1:] == ["None", sys.executable, "a b"]
    notebook.run("mt3x --version")
    assert "mt3x, version" in capsys.readouterr().out


def test_run_fails_with_the_command(capsys):
    with pytest.raises(RuntimeError, match="mt3x failed"):
        notebook.run("mt3x transcribe missing.wav")
    assert "no such file" in capsys.readouterr().out


INTERRUPTED = """
import pathlib, signal, sys, time
def save(*_):
    time.sleep(0.8)
    pathlib.Path("saved").touch()
    sys.exit()
signal.signal(signal.SIGINT, save)
print("begun", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX's")
def test_an_interrupted_command_ends_in_its_own_way():
    """As Jupyter interrupts: the notebook's process and all that it started."""
    command = f"python -c {shlex.quote(INTERRUPTED)}"
    code = f"from mt3x import notebook; notebook.run({command!r})"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "begun\n":
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate()
        assert err.endswith("KeyboardInterrupt\n")
        assert Path("saved").exists()


def test_a_dry_run_does_nothing(capsys):
    notebook.run("rm -r 'a b'", dry_run=True)
    assert capsys.readouterr().out == "$ rm -r 'a b'\n"
