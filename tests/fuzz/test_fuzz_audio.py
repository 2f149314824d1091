"""Damaged recordings: finite samples, or one line that names the file."""

import io

import mutations
import numpy as np
import pytest
import soundfile

from mt3x.music.audio import audio_info, load_audio

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "aiff": ("AIFF", "PCM_24"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


def encoded(form: str, subtype: str, channels: int) -> bytes:
    """A quarter of a second of two tones and noise."""
    t_S = np.arange(6000) / 24000
    rng = np.random.default_rng(channels)
    samples_SxC = 0.3 * np.sin(2000 * t_S)[:, None] * np.ones(channels)
    samples_SxC += 0.1 * rng.standard_normal(samples_SxC.shape)
    file = io.BytesIO()
    soundfile.write(file, samples_SxC, 24000, format=form, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("ending", FORMATS)
def test_damaged_recordings(tmp_path, ending):
    samples = [encoded(*FORMATS[ending], channels) for channels in (1, 2)]

    def read(path):
        audio_info(path)
        assert np.isfinite(load_audio(path)).all()

    counts = mutations.try_all(read, tmp_path / f"damaged.{ending}", samples)
    assert counts["read"] and counts["refused"]
