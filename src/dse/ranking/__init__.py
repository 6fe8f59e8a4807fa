"""From a corpus and any teacher to a student that ranks: candidates, teacher's scores, training, report, each resumed.

`make_ranker` is the whole way; `RankingRecipe` is everything that decides the student.
"""

from __future__ import annotations

from dse.ranking.ranker import RankingRecipe, make_ranker

__all__ = ["RankingRecipe", "make_ranker"]
