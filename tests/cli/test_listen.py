"""`mt3x listen`: a microphone and MIDI ports that are made up, and none at all."""

import signal
import sys
import threading
import time
from types import ModuleType, SimpleNamespace

import mido
import numpy as np
import pytest
from tiny_models import save_small_weights

from mt3x.cli import microphone
from mt3x.cli.main import main
from mt3x.inference.live import LiveTranscriber
from mt3x.inference.transcriber import Transcriber
from mt3x.music.notes import Notes
from mt3x.music.sonify import sonify

RATE = 44100


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


def playing(seconds: float) -> np.ndarray:
    onset = np.arange(0.2, seconds, 0.3)
    notes = Notes(onset, onset + 0.2, 50 + np.arange(len(onset)) % 30)
    return sonify(notes, RATE, int(seconds * RATE))


class FakeSounddevice(ModuleType):
    """A module with an input that plays `samples_SxC` and then is silent.

    `overflows` blocks lose samples; at the end there is a Ctrl-C, or the device goes.
    """

    class PortAudioError(Exception):
        pass

    def __init__(
        self, samples_SxC, overflows=0, ending="ctrl-c", in_real_time=False
    ) -> None:
        super().__init__("sounddevice")
        self.in_real_time = in_real_time
        self.samples_SxC, self.overflows, self.ending = samples_SxC, overflows, ending
        self.options, self.opens = {}, True
        self.num_closed = 0

    def query_devices(self, device=None, kind=None):
        devices = [
            {"name": "Loudspeaker", "index": 0, "max_input_channels": 0},
            {"name": "Grand piano", "index": 1, "max_input_channels": 4},
        ]
        devices = [{**each, "default_samplerate": float(RATE)} for each in devices]
        if kind is None:
            return devices
        if device is None or device == 1 or str(device).lower() in "grand piano":
            return devices[1]
        raise ValueError(f"No input device matching {device!r}")

    def InputStream(self, callback, **options):
        if not self.opens:
            raise self.PortAudioError("Device unavailable [-9985]")
        self.options = options
        stream = SimpleNamespace(active=True, stop=lambda: None)

        def play():
            num_channels = options["channels"]
            for number, block_S in enumerate(np.array_split(self.samples_SxC, 40)):
                if self.in_real_time:
                    time.sleep(len(block_S) / RATE)
                lossy = SimpleNamespace(input_overflow=number < self.overflows)
                block_SxC = np.repeat(block_S[:, np.newaxis], num_channels, axis=1)
                callback(block_SxC, len(block_S), None, lossy)
                block_SxC[:] = np.nan  # PortAudio uses its memory again
            if self.ending == "ctrl-c":
                signal.raise_signal(signal.SIGINT)
            stream.active = False

        thread = threading.Thread(target=play)

        def close():
            thread.join()
            self.num_closed += 1

        stream.start, stream.close = thread.start, close
        return stream


@pytest.fixture
def run(weights, tmp_path, monkeypatch, capsys):
    """Runs the command; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*args, module=None):
        if module is not None:
            monkeypatch.setitem(sys.modules, "sounddevice", module)
        argv = ["mt3x", "listen", *map(str, args), "--checkpoint", str(weights)]
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as exit_:
            main()
        return exit_.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def port(monkeypatch):
    """A MIDI port that keeps what it gets."""
    sent = []
    opened = SimpleNamespace(sent=sent, send=sent.append, close=lambda: sent.append(0))

    def open_output(name, virtual=False):
        opened.name, opened.virtual = name, virtual
        return opened

    monkeypatch.setattr(mido, "open_output", open_output)
    names = ["Synth:in 1", "Organ:in 1", "Organ:in 2"]
    monkeypatch.setattr(mido, "get_output_names", lambda: names)
    return opened


def expected_notes(weights, samples_S) -> Notes:
    live = LiveTranscriber(Transcriber(weights), sample_rate_hz=RATE)
    return Notes.concatenate([live.push(samples_S), live.finish()])


def test_ctrl_c_ends_a_take_and_writes_it(run, weights, tmp_path):
    samples_S = playing(4.0)
    fake = FakeSounddevice(samples_S)
    code, out, err = run("-o", "take.mid", module=fake)
    notes = expected_notes(weights, samples_S)
    assert code == 0 and len(notes) > 5
    assert err.splitlines() == [
        "listening to Grand piano; Ctrl-C ends",
        f"{len(notes)} notes in take.mid",
    ]
    written = Notes.from_midi(tmp_path / "take.mid")
    assert written.equals(Notes.from_midi(notes.to_midi()))
    assert len(out.splitlines()) == len(notes)
    assert fake.options["samplerate"] == RATE and fake.options["channels"] == 2
    assert fake.num_closed == 1


def test_a_recording_in_real_time_has_the_same_notes(run, weights, tmp_path):
    samples_S = playing(2.0)
    fake = FakeSounddevice(samples_S, in_real_time=True)
    code, _, err = run("-o", "take.mid", module=fake)
    notes = expected_notes(weights, samples_S)
    assert code == 0 and len(notes) > 2 and "lost" not in err
    written = Notes.from_midi(tmp_path / "take.mid")
    assert written.equals(Notes.from_midi(notes.to_midi()))


def test_a_file_that_came_meanwhile_is_kept_beside_the_take(run, tmp_path, monkeypatch):
    fake = FakeSounddevice(playing(2.0))
    start = fake.InputStream

    def meanwhile(**options):
        (tmp_path / "take.mid").write_bytes(b"theirs")
        (tmp_path / "take-2.mid").write_bytes(b"theirs")
        return start(**options)

    monkeypatch.setattr(fake, "InputStream", meanwhile)
    code, _, err = run("-o", "take.mid", module=fake)
    assert code == 0 and "notes in take-3.mid" in err
    assert len(Notes.from_midi(tmp_path / "take-3.mid")) > 2
    for name in ("take.mid", "take-2.mid"):
        assert (tmp_path / name).read_bytes() == b"theirs"


def test_seconds_end_a_take(run, weights):
    samples_S = playing(4.0)
    code, out, err = run("--seconds", 2.5, module=FakeSounddevice(samples_S))
    notes = expected_notes(weights, samples_S[: round(2.5 * RATE)])
    assert code == 0 and len(out.splitlines()) == len(notes) > 2
    assert f"{len(notes)} notes\n" in err


def test_a_take_is_written_when_the_device_goes(run, tmp_path):
    fake = FakeSounddevice(playing(3.0), ending="gone")
    code, _, err = run("-o", "take.mid", "-q", module=fake)
    assert code == 1 and "error: Grand piano: no more sound comes" in err
    assert len(Notes.from_midi(tmp_path / "take.mid")) > 2


@pytest.mark.filterwarnings("always")
def test_lost_samples_are_reported_once(run):
    _, _, err = run("-q", module=FakeSounddevice(playing(2.0), overflows=9))
    assert err.count("warning: Grand piano: some sound was lost") == 1


@pytest.mark.filterwarnings("always")
def test_what_waits_too_long_is_lost_and_not_kept(run, monkeypatch):
    monkeypatch.setattr(microphone, "MOST_BLOCKS", 3)
    _, _, err = run("-q", module=FakeSounddevice(playing(2.0)))
    assert err.count("some sound was lost") == 1


@pytest.mark.parametrize(
    ("name", "found", "virtual"),
    [("synth", "Synth:in 1", False), ("virtual", "mt3x", True)],
)
def test_midi_ports_get_keys_down_and_up(run, weights, port, name, found, virtual):
    samples_S = playing(4.0)
    code, *_ = run("--midi-out", name, module=FakeSounddevice(samples_S))
    notes = expected_notes(weights, samples_S)
    assert code == 0 and (port.name, port.virtual) == (found, virtual)
    *messages, closed = port.sent
    assert closed == 0
    downs = [message.note for message in messages if message.type == "note_on"]
    ups = [message.note for message in messages if message.type == "note_off"]
    assert sorted(downs) == sorted(ups) == sorted(notes.pitch)


def test_devices_and_ports_are_listed(run, port):
    code, out, _ = run("--list-devices", module=FakeSounddevice(playing(1.0)))
    assert code == 0
    assert "*  1  Grand piano  (4 channels, 44100 Hz)" in out
    assert "Loudspeaker" not in out and "Organ:in 2" in out


def test_bad_input_is_one_line(run, port, tmp_path):
    fake = FakeSounddevice(playing(1.0))
    (tmp_path / "old.mid").write_bytes(b"old")
    for args, message in (
        (["--device", "7"], "no audio input 7 (No input device matching 7)"),
        (["--device", "banjo"], "no audio input banjo"),
        (["--midi-out", "harp"], "no port has this name; choose of Synth:in 1, Organ"),
        (["--midi-out", "organ"], "several ports have this name"),
        (["-o", "old.mid"], "old.mid exists already; give --overwrite"),
        (["-o", "take.wav"], "name it *.mid"),
        (["-o", "none/take.mid"], "there is no folder"),
    ):
        code, out, err = run(*args, module=fake)
        assert (code, out, err.count("\n")) == (1, "", 1), args
        assert err.startswith("error: ") and message in err
    assert (tmp_path / "old.mid").read_bytes() == b"old"
    fake.opens = False
    code, _, err = run(module=fake)
    assert code == 1 and "it cannot be opened (Device unavailable" in err


def test_parts_that_are_missing_are_named(run, monkeypatch):
    fake = FakeSounddevice(playing(1.0))

    def no_midi(*_, **__):
        raise OSError("no sequencer")

    monkeypatch.setattr(mido, "open_output", no_midi)
    monkeypatch.setattr(mido, "get_output_names", no_midi)
    _, _, err = run("--midi-out", "virtual", module=fake)
    assert "error: --midi-out virtual: this system has no MIDI (no sequencer)" in err
    assert "none (no sequencer)" in run("--list-devices", module=fake)[1]

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    assert "needs PortAudio, which is not installed" in run()[2]
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert "this command needs sounddevice" in (line := run()[2])
    assert "pip install 'mt3x[live]'" in line
