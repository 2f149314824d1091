"""Types of options."""

import re
from collections.abc import Mapping
from typing import Any

import click
import numpy as np

from mt3x.inference.outputs import ENDINGS, FORMATS, Format
from mt3x.music.beats import LEAST_BPM, MOST_BPM
from mt3x.music.instruments import Instruments, parse_instruments
from mt3x.music.pitches import parse_pitch

Parameter = click.Parameter | None
Context = click.Context | None


class InstrumentList(click.ParamType):
    """A list of instruments, as `piano,drums,33`."""

    name = "LIST"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> Instruments:
        try:
            return parse_instruments(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Tuning(click.ParamType):
    """Cents, or `auto`."""

    name = "auto|CENTS"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> Any:
        if value == "auto":
            return value
        return click.FloatRange(-100, 100).convert(value, param, ctx)


class Tempo(click.ParamType):
    """Beats a minute, `detect` or `none`."""

    name = "detect|BPM|none"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> Any:
        if value in ("detect", "none"):
            return value
        bpm = click.FloatRange(LEAST_BPM, MOST_BPM).convert(value, param, ctx)
        if np.isnan(bpm):
            self.fail(f"{value!r} is not a tempo", param, ctx)
        return bpm


class Formats(click.ParamType):
    """A list of formats, by their names or endings, as `midi,csv` or `mid,png`."""

    name = "LIST"

    def __init__(
        self,
        formats: Mapping[str, Format] = FORMATS,
        endings: Mapping[str, str] = ENDINGS,
    ) -> None:
        self._formats, self._endings = formats, endings

    def convert(self, value: Any, param: Parameter, ctx: Context) -> list[str]:
        names = [name.strip().lower() for name in value.split(",")]
        names = [self._endings.get(name.removeprefix("."), name) for name in names]
        for name in names:
            if name not in self._formats:
                known = ", ".join(self._formats)
                self.fail(f"{name!r} is not one of {known}", param, ctx)
        return list(dict.fromkeys(names))


class Pitch(click.ParamType):
    """A pitch, as `C4` or `60`."""

    name = "PITCH"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_pitch(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Time(click.ParamType):
    """A time in seconds, as `90.5`, or as `1:30.5` or `1:02:03`."""

    name = "TIME"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> float:
        if isinstance(value, float):
            return value
        if not re.fullmatch(r"(\d+:){0,2}\d*\.?\d+|\d+\.", value.strip()):
            self.fail(
                f"{value!r} is not a time: give seconds, or minutes and seconds as "
                "1:30",
                param,
                ctx,
            )
        seconds = 0.0
        for part in value.split(":"):
            seconds = 60 * seconds + float(part)
        return seconds


class MoodPoint(click.ParamType):
    """A mood at a time, as `30:-0.5,0.8`, or `1:30:-0.5,0.8`."""

    name = "TIME:VALENCE,AROUSAL"

    def convert(
        self, value: Any, param: Parameter, ctx: Context
    ) -> tuple[float, float, float]:
        if isinstance(value, tuple):
            return value
        time, _, mood = value.rpartition(":")
        try:
            valence, arousal = map(float, mood.split(","))
        except ValueError:
            self.fail(
                f"{value!r} is not a mood at a time: give it as 30:-0.5,0.8", param, ctx
            )
        return Time().convert(time, param, ctx), valence, arousal


class DeviceName(click.ParamType):
    """A kind of device, or one of several, as `gpu` or `gpu:1`."""

    name = "cpu|gpu|tpu[:N]"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> str:
        if not re.fullmatch(r"(cpu|gpu|tpu)(:\d+)?", value):
            self.fail(
                f"{value!r} is not a device: give cpu, gpu or tpu, or one of several "
                "as gpu:1",
                param,
                ctx,
            )
        return value


def as_json(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were chosen as values for JSON, in a fixed order."""
    values = {}
    for name, value in sorted(options.items()):
        if isinstance(value, Instruments):
            programs = list(map(str, sorted(value.programs)))
            value = ",".join([*programs, *["drums"][: value.drums]])
        elif value is not None and not isinstance(value, bool | int | float):
            value = str(value)
        if value is not None and value is not False:
            values[name] = value
    return values
