"""From settings by name, as presets, files and options give them, to what `make_student` and `fit_teacher` take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from dse.cli.parsing import ALIASES
from dse.errors import BadDataError, DSEError

if TYPE_CHECKING:
    from dse.ranking import RankingRecipe
    from dse.recipe import Recipe
    from dse.training.settings import Training

SHARED = ("batch_size", "dtype", "seed", "patience", "head_steps")  # by a student and the teacher made for it
TEACHER = "teacher_"  # before a name: the setting of the teacher alone
PARTS = ("student", "distillation", "training", "teacher_training")  # fields of Recipe that hold settings by name
OF_RANKINGS = ("steps", "kept", "refreshes")  # settings of a student that learns from a corpus, and of no other
NOT_SETTINGS = ("backbone", "num_labels", "kwargs", "return")  # hints of `DSE.from_backbone`
SPELLED = {name: alias for alias, name in ALIASES.items()}  # as files and options write them
ONLY_IF_GIVEN = ("head_dimension", "head_dropout")  # not noted in run.json otherwise, as in runs made before they were


def setting_types(command: str) -> dict[str, Any]:
    """Names and types of what can be set for `dse teacher` or `dse distill` besides its input and output."""
    from dse.model import DSE
    from dse.recipe import Recipe
    from dse.training.losses import Distillation
    from dse.training.settings import RankingTraining, Training

    training = get_type_hints(Training)
    if command == "teacher":
        return training
    recipe = {name: hint for name, hint in get_type_hints(Recipe).items() if name not in PARTS}
    student = {name: hint for name, hint in get_type_hints(DSE.from_backbone).items() if name not in NOT_SETTINGS}
    teacher = {TEACHER + name: hint for name, hint in training.items()}
    return get_type_hints(RankingTraining) | recipe | student | get_type_hints(Distillation) | training | teacher


def convert(settings: Mapping[str, Any], command: str, options: Iterable[str], file: Path) -> dict[str, Any]:
    """Settings of a file that have no option, as their types want them.

    Raises:
        BadDataError: If a name or a value is wrong.
    """
    from pydantic import TypeAdapter, ValidationError

    types, converted = setting_types(command), {}
    for name, value in settings.items():
        if name not in types:
            known = sorted(SPELLED.get(known, known) for known in {*types, *options})
            near = get_close_matches(name, known, n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise BadDataError(
                f"{file}: `dse {command}` has no setting {name!r}{meant}; choose from {', '.join(known)}."
            )
        try:
            converted[name] = TypeAdapter(types[name]).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise BadDataError(f"{file}: {name} is {value!r} ({reason}); correct it.") from error
        if isinstance(value, bool) and not isinstance(converted[name], bool):  # pydantic takes true for 1
            raise BadDataError(f"{file}: {name} is {value!r}, yes or no; give a number.")
    return converted


@contextmanager
def _in_range() -> Iterator[None]:
    """A setting that cannot train is a fault of the person's settings, as one of a wrong type is."""
    try:
        yield
    except DSEError:
        raise
    except ValueError as error:
        raise BadDataError(str(error)) from error


@_in_range()
def make_training(settings: Mapping[str, Any]) -> Training:
    """The fields of `Training` among the settings."""
    from dse.training.settings import Training

    return Training(**_fields(Training, settings))


@_in_range()
def make_recipe(settings: Mapping[str, Any]) -> Recipe:
    """The recipe that settings of `dse distill` describe."""
    from dse.model import DSE
    from dse.recipe import Recipe
    from dse.training.losses import Distillation
    from dse.training.settings import Training

    for name in OF_RANKINGS:
        if name in settings:
            raise BadDataError(f"{name} is a setting of students that learn from --corpus; give that, or leave it out.")
    training = _fields(Training, settings)
    own = {name.removeprefix(TEACHER): value for name, value in settings.items() if name.startswith(TEACHER)}
    shared = {name: value for name, value in training.items() if name in SHARED}
    student = {
        name: settings.get(name, parameter.default)
        for name, parameter in signature(DSE.from_backbone).parameters.items()
        if name not in NOT_SETTINGS and (name in settings or name not in ONLY_IF_GIVEN)
    }
    student["pooling"] = student["pooling"] or "mean"  # the paper's; run.json has noted it so from the beginning
    return Recipe(
        **_fields(Recipe, settings),
        student=student,
        distillation=Distillation(**_fields(Distillation, settings)),
        training=Training(**training),
        teacher_training=Training(**shared | _fields(Training, own)),
    )


@_in_range()
def make_ranking_recipe(backbone: str, teachers: Iterable[str], settings: Mapping[str, Any]) -> RankingRecipe:
    """The recipe of a student of rankings.

    Raises:
        BadDataError: If a setting is of students made from pairs.
    """
    from dse.model import DSE
    from dse.ranking import RankingRecipe
    from dse.training.settings import RankingTraining

    training = _fields(RankingTraining, settings)
    own = {name: settings[name] for name in ("teacher_pairs",) if name in settings}
    known = [name for name in signature(DSE.from_backbone).parameters if name not in NOT_SETTINGS]
    student = {name: value for name, value in settings.items() if name in known}
    other = sorted(settings.keys() - training.keys() - student.keys() - own.keys())
    if other:
        raise BadDataError(f"{other[0]} is a setting of students made from pairs; leave it out with --corpus.")
    return RankingRecipe(backbone, tuple(teachers), student, RankingTraining(**training), **own)


def _fields(cls: type[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that are fields of a dataclass."""
    return {field.name: settings[field.name] for field in fields(cls) if field.name in settings}
