"""What griffe asks for while it reads docstrings: `Example:` opens a section of examples; `>>>` becomes code."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object


class Examples(Extension):
    """Gives the section the name that griffe knows."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rename it in one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
