"""Prepared candidates: embedded once, kept on disk if wanted, and refused where another student made them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dse.errors import BadDataError, MismatchError
from dse.files import replacing, share


@dataclass(frozen=True)
class Candidates:
    """Embeddings of candidates and the fingerprint of the student they belong to, see `DSE.prepare`.

    Nothing else is worth holding: for one query, all that depends on a candidate alone is inside the folded product.

    Attributes:
        embeddings: (n, d), bfloat16 or float32.
        student: The student's fingerprint.

    Example:
        >>> student, folder = getfixture("student"), getfixture("tmp_path")
        >>> student.prepare(["a red bicycle", "a blue tent"]).save(folder / "candidates.safetensors")
        >>> len(Candidates.load(folder / "candidates.safetensors"))
        2
    """

    embeddings: Tensor
    student: str

    def __len__(self) -> int:
        return len(self.embeddings)

    def check(self, *student: str) -> None:
        """Refuse candidates that another student embedded.

        Args:
            *student: The student's fingerprint, and others that it goes by.

        Raises:
            MismatchError: If the fingerprint is another one.
        """
        if self.student not in student:
            raise MismatchError(
                f"These candidates were prepared by student {self.student[:12]}, this is student {student[0][:12]}; "
                "prepare them again with this one."
            )

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, whole or not at all."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            save_file({"embeddings": self.embeddings.contiguous().cpu()}, temporary, {"student": self.student})
            share(temporary)

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> Self:
        """Read what `save` wrote.

        Raises:
            BadDataError: If the file is none of prepared candidates.
        """
        try:
            with safe_open(path, framework="pt", device=device) as file:
                return cls(file.get_tensor("embeddings"), (file.metadata() or {})["student"])
        except (OSError, KeyError, SafetensorError) as error:
            raise BadDataError(
                f"{path} holds no prepared candidates ({str(error).splitlines()[0]}); make it with DSE.prepare."
            ) from error
