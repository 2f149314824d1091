"""Helps: options in sections, and lines of commands that are not cut."""

import functools
from collections.abc import Callable
from typing import Any

import click


class SectionOption(click.Option):
    """An option that a `SectionedCommand` lists in a section."""

    def __init__(self, *args: Any, section: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.section = section


def options_of(section: str) -> Callable[..., Callable]:
    """Return `click.option` for options of a section."""
    return functools.partial(click.option, cls=SectionOption, section=section)


class SectionedCommand(click.Command):
    """A command whose options are listed in sections, in the order of their first."""

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        options = [x for x in self.get_params(ctx) if isinstance(x, click.Option)]
        for option in sorted(options, key=lambda x: not isinstance(x, SectionOption)):
            section = getattr(option, "section", "Other options")
            if record := option.get_help_record(ctx):
                sections.setdefault(section, []).append(record)
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)


class WholeLinesGroup(click.Group):
    """A group that lists what its commands do in whole sentences."""

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        commands = [(x, self.get_command(ctx, x)) for x in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(x, c.get_short_help_str(limit=1000)) for x, c in commands if c]
            )
