"""What mkdocs asks for while it builds the site: options and settings, from the code, and links that leave the site."""

from __future__ import annotations

import inspect
import posixpath
import re
from typing import Any

import typer

MARKER = "<!-- commands -->"
SETTINGS = re.compile(r"<!-- settings (\w+)((?: -\w+)*) -->")  # of a name below, without others
PRESETS = "<!-- presets -->"
ENTRY = re.compile(r"^    (\w+): (.+(?:\n     +.+)*)", re.MULTILINE)  # of a Google docstring
LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, files: Any, **_: Any) -> str:
    """Fill in the commands; of a link to a file outside the site only its text is left, in the type of code."""
    if MARKER in markdown:
        markdown = markdown.replace(MARKER, command_line())
    if PRESETS in markdown:
        markdown = markdown.replace(PRESETS, presets())
    markdown = SETTINGS.sub(lambda match: settings(match[1], match[2].replace(" -", " ").split()), markdown)

    def keep(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), match[2]))
        return f"`{target.removeprefix('../')}`" if target.startswith("../") else match[0]

    return LINK.sub(keep, markdown)


def command_line() -> str:
    """Every command with its arguments and options, as the code declares them."""
    from dse.cli import app

    return "\n".join(_command("dse", typer.main.get_command(app), 1))


def settings(name: str, without: list[str]) -> str:
    """A table of what a class or function is set by: names, the first words of its docstring on each, defaults."""
    from dse.model import DSE
    from dse.ranking import RankingRecipe
    from dse.recipe import Recipe
    from dse.training.losses import Distillation
    from dse.training.settings import RankingTraining, Training

    known = {
        "Student": DSE.from_backbone,
        "Recipe": Recipe,
        "Distillation": Distillation,
        "Training": Training,
        "RankingRecipe": RankingRecipe,
        "RankingTraining": RankingTraining,
    }
    told = dict(ENTRY.findall(inspect.getdoc(known[name]) or ""))
    lines = ["| | | default |", "| --- | --- | --- |"]
    for key, parameter in inspect.signature(known[name]).parameters.items():
        if key not in without and parameter.kind is not parameter.VAR_KEYWORD:
            default = "" if parameter.default in (None, parameter.empty) else f"`{parameter.default}`"
            lines.append(f"| `{key}` | {_prose(told[key]).replace('``', '`')} | {default} |")
    return "\n".join(lines)


def presets() -> str:
    """A table of what each preset sets for `dse distill`."""
    from dse.cli.config import PRESETS as FOLDER
    from dse.cli.config import read_config

    sets = {name: read_config(FOLDER / f"{name}.yaml", "distill") for name in ("fast", "best", "paper")}
    keys = dict.fromkeys(key for settings in sets.values() for key in settings)
    lines = [f"| | {' | '.join(f'`{name}`' for name in sets)} |", "| --- | --- | --- | --- |"]
    for key in keys:
        lines.append(f"| `{key}` | {' | '.join(str(settings.get(key, '')) for settings in sets.values())} |")
    return "\n".join(lines)


def _command(name: str, command: Any, level: int) -> list[str]:
    lines = []
    if level > 1:
        lines += [f"{'#' * level} `{name}`", "", _prose(command.help), ""]
    if subcommands := getattr(command, "commands", None):
        for word, inner in subcommands.items():
            lines += _command(f"{name} {word}", inner, level + 1)
        return lines
    arguments = [option for option in command.params if option.param_type_name == "argument"]
    options = [option for option in command.params if option.param_type_name == "option"]
    usage = [name, *(_name(a) if a.required else f"[{_name(a)}]" for a in arguments)]
    lines += ["```text", " ".join([*usage, "[OPTIONS]"]), "```", ""]
    lines += ["| | | default |", "| --- | --- | --- |"]
    for option in [*arguments, *options]:
        shown = _name(option) if option in arguments else ", ".join([*option.opts, *option.secondary_opts])
        lines.append(f"| `{shown}` | {_prose(option.help)} | {_default(option)} |")
    return [*lines, ""]


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _prose(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _default(option: Any) -> str:
    if option.required:
        return "required"
    default = option.default
    if (
        default is None
        or default is False
        or default == ()
        or callable(default)
        or type(default).__name__ == "Sentinel"
    ):
        return ""
    return f"`{default}`"
