"""`--config FILE`: settings of a command kept in a YAML file; what is typed on the command line wins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dse.errors import BadDataError


def read_config(file: Path, command: str) -> dict[str, Any]:
    """Settings for one command: those at the top of the file, and over them those of its own section.

    Args:
        file: YAML; keys are names of options without dashes in front, sections are names of commands.
        command: The section to read.

    Raises:
        BadDataError: If the file cannot be read or is no mapping.
    """
    import yaml

    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BadDataError(f"The settings in {file} cannot be read ({reason}); give a YAML file.") from error
    if not isinstance(tree, dict):
        raise BadDataError(f"{file} holds no settings; write them as `option: value`, one a line.")
    common = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    return common | (tree.get(command) or {})


def _apply(context: typer.Context, file: Path | None) -> Path | None:
    """Make the file's settings the defaults of this call."""
    if file is None or context.resilient_parsing:
        return file
    known = {option.lstrip("-"): param.name for param in context.command.params for option in param.opts}
    settings = read_config(file, str(context.command.name))
    unknown = [key for key in settings if key.replace("_", "-") not in known]
    if unknown:
        raise BadDataError(f"{file}: `dse {context.command.name}` has no option {unknown[0]!r}; correct its name.")
    context.default_map = {known[key.replace("_", "-")]: _text(value) for key, value in settings.items()}
    return file


def _text(value: Any) -> Any:
    """Lists as the command line writes them."""
    return ",".join(map(str, value)) if isinstance(value, list) else value


ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", is_eager=True, callback=_apply, help="YAML file of settings; options given here win."),
]
