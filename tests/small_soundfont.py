"""Soundfonts of a few kilobytes: every preset is a looped tone with one overtone."""

import struct

import numpy as np

PRESETS = [(0, program) for program in (0, 25, 33, 40, 73)] + [(128, 0)]
_RATE_HZ, _PERIOD = 22050, 50  # 441 Hz
_GEN_INSTRUMENT, _GEN_SAMPLE, _GEN_SAMPLE_MODES = 41, 53, 54


def write_soundfont(path, presets=PRESETS, overtone=0.0):
    """Writes an SF2 file with (bank, program) presets; `overtone` is its timbre."""
    phase_S = 2 * np.pi * np.arange(40 * _PERIOD) / _PERIOD
    samples_S = 8000 * (np.sin(phase_S) + overtone * np.sin(2 * phase_S))
    length = len(samples_S)
    number = len(presets)
    headers = [
        _name(f"{bank}:{program}") + struct.pack("<HHHIII", program, bank, i, 0, 0, 0)
        for i, (bank, program) in enumerate(presets)
    ]
    headers.append(_name("EOP") + struct.pack("<HHHIII", 0, 0, number, 0, 0, 0))
    sample = struct.pack(
        "<IIIIIBbHH", 0, length, _PERIOD, length - _PERIOD, _RATE_HZ, 69, 0, 0, 1
    )
    data = {
        "phdr": b"".join(headers),
        "pbag": b"".join(struct.pack("<HH", i, 0) for i in range(number + 1)),
        "pmod": bytes(10),
        "pgen": struct.pack("<HH", _GEN_INSTRUMENT, 0) * number + bytes(4),
        "inst": _name("tone") + bytes(2) + _name("EOI") + struct.pack("<H", 1),
        "ibag": bytes(4) + struct.pack("<HH", 2, 0),
        "imod": bytes(10),
        # The loop is played; the sample comes last.
        "igen": struct.pack("<HHHH", _GEN_SAMPLE_MODES, 1, _GEN_SAMPLE, 0) + bytes(4),
        "shdr": _name("tone") + sample + _name("EOS") + bytes(26),
    }
    info = _chunk("ifil", struct.pack("<HH", 2, 1)) + _chunk("isng", b"EMU8000\0")
    sound = _chunk("smpl", samples_S.astype("<i2").tobytes() + bytes(92))
    lists = [
        _chunk("LIST", b"INFO" + info + _chunk("INAM", b"small\0")),
        _chunk("LIST", b"sdta" + sound),
        _chunk("LIST", b"pdta" + b"".join(_chunk(k, v) for k, v in data.items())),
    ]
    path.write_bytes(_chunk("RIFF", b"sfbk" + b"".join(lists)))


def _chunk(name, data):
    return name.encode() + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _name(text):
    return text.encode().ljust(20, b"\0")
