"""A whole run from labelled pairs to a reported student."""

from dse.pipeline.student import HELD_OUT, hold_out, make_student
from dse.pipeline.teacher import make_teacher
from dse.recipe import Recipe

__all__ = ["HELD_OUT", "Recipe", "hold_out", "make_student", "make_teacher"]
