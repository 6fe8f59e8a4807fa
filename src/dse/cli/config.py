"""`--preset NAME` and `--config FILE`: settings of a command in a YAML file.

A preset is such a file that comes with the package. The command line wins over the file, the file over the preset.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dse.cli.parsing import ALIASES
from dse.errors import BadDataError

PRESETS = Path(__file__).parent / "presets"
Preset = Literal["fast", "best", "paper"]


def read_config(file: Path, command: str, preset: str | None = None) -> dict[str, Any]:
    """Settings for one command: those of the preset, over them those at the top of the file, then its own section.

    Args:
        file: YAML; keys are names of settings, sections are names of commands. The key `preset` names a preset.
        command: The section to read.
        preset: A preset in place of the one that the file names.

    Raises:
        BadDataError: If the file cannot be read or is no mapping, or if its preset does not exist.
    """
    import yaml

    try:
        tree = _load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BadDataError(f"The settings in {file} cannot be read ({reason}); give a YAML file.") from error
    if not isinstance(tree, dict):
        raise BadDataError(f"{file} holds no settings; write them as `option: value`, one a line.")
    section = tree.get(command)
    settings = _named({key: value for key, value in tree.items() if not isinstance(value, dict)}, file)
    settings |= _named(section, file) if isinstance(section, dict) else {}
    own = settings.pop("preset", None)
    preset = preset or own
    if preset is None:
        return settings
    base = PRESETS / f"{preset}.yaml"
    if not base.exists():
        known = ", ".join(sorted(path.stem for path in PRESETS.glob("*.yaml")))
        raise BadDataError(f"{file} has no known preset {preset!r}; choose one of {known}.")
    return read_config(base, command) | settings


def _load(text: str) -> Any:
    """What the text of a YAML file holds; a key that stands twice is an error, where YAML would keep the last."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[tuple[str, str]] = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if (key.tag, key.value) in seen:
                    raise yaml.YAMLError(f"line {key.start_mark.line + 1}: {key.value!r} stands there twice")
                seen.add((key.tag, key.value))
            mapping: dict[Any, Any] = super().construct_mapping(node, deep)
            return mapping

    return yaml.load(text, Loader)


def _apply(context: typer.Context, parameter: typer.CallbackParam, value: Any) -> Any:
    """Make the settings of preset and file the defaults of this call; keep those without an option in `context.obj`."""
    if value is None or context.resilient_parsing:
        return value
    chosen = context.params | {str(parameter.name): value}  # the other of the two may have been read before
    preset, file = chosen.get("preset"), chosen.get("config")
    command = str(context.command.name)
    settings = read_config(file or PRESETS / f"{preset}.yaml", command, preset if file else None)
    options = {str(param.name): param for param in context.command.params}
    source = file or PRESETS / f"{preset}.yaml"
    for name, given in settings.items():
        if isinstance(given, bool) and not getattr(options.get(name), "is_flag", True):  # Python takes true for 1
            raise BadDataError(f"{source}: {name} is {given!r}, yes or no; give a number, or a text in quotes.")
    others = {name: value for name, value in settings.items() if name not in options}
    if others:
        from dse.cli.recipe import convert

        others = convert(others, command, options, source)
    context.obj = others
    context.default_map = {
        name: _repeated(value) if getattr(options[name], "multiple", False) else _text(value)
        for name, value in settings.items()
        if name in options
    }
    return value


def _named(settings: dict[Any, Any], file: Path) -> dict[str, Any]:
    """Settings under the names of their parameters."""
    named: dict[str, Any] = {}
    for key, value in settings.items():
        name = str(key).replace("-", "_")
        name = ALIASES.get(name, name)
        if name in named:
            raise BadDataError(f"{file}: {key} stands there twice, spelled in two ways; keep one of them.")
        named[name] = value
    return named


def _repeated(value: Any) -> list[Any]:
    """The values of an option that may be given several times."""
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> Any:
    """Lists as the command line writes them."""
    return ",".join(map(str, value)) if isinstance(value, list) else value


PresetOption = Annotated[
    Preset | None,
    typer.Option("--preset", is_eager=True, callback=_apply, help="A quick try, the best quality, or the paper."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", is_eager=True, callback=_apply, help="YAML file of settings; wins over the preset."),
]
