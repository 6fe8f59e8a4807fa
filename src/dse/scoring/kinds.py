"""The kinds of pair head by name.

=============== ======================================================== =========
kind            s(u, v)                                                  symmetric
=============== ======================================================== =========
mlp             W2 relu(W1 [u, v, u*v, abs(u-v)] + b1) + b2 (paper)      no
mlp-symmetric   W2 relu(W1 [u+v, u*v, abs(u-v)] + b1) + b2               yes
bilinear        u' M_c v + b_c                                           no
dot             a_c (u . v) + b_c                                        yes
cosine          a_c cos(u', v') + b_c                                    yes
cosine-mlp      a_c cos(u', v') + the mlp's score, which starts at zero  no
cosine-map      a_c cos(u' + A u' + p, v' + B v' + q) + b_c              no
=============== ======================================================== =========

u', v': all values of u and v, or the last ones (``cosine_dimension``), which are the backbone's last layer;
in cosine-map brought to length one.
"""

from __future__ import annotations

from typing import Literal, get_args

from dse.scoring.head import Kind
from dse.scoring.mlp import MLP, CosineMLP, SymmetricMLP
from dse.scoring.similarity import Bilinear, Cosine, CosineMap, Dot

HeadKind = Literal["mlp", "mlp-symmetric", "bilinear", "dot", "cosine", "cosine-mlp", "cosine-map"]
HEAD_KINDS: tuple[HeadKind, ...] = get_args(HeadKind)

KINDS: dict[HeadKind, Kind] = {
    "mlp": MLP(),
    "mlp-symmetric": SymmetricMLP(),
    "bilinear": Bilinear(),
    "dot": Dot(),
    "cosine": Cosine(),
    "cosine-mlp": CosineMLP(),
    "cosine-map": CosineMap(),
}
