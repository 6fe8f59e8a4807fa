"""Record a teacher's vectors of the bundled help-desk questions, so that the quickstart has a strong teacher offline.

    python -m benchmarks.helpdesk_teacher --teacher sentence-transformers/all-mpnet-base-v2   # or a folder

Writes `src/dse/data/helpdesk/teacher.safetensors`: the principal components of the vectors, a byte each with a scale
per dimension. The axes are those of the texts that a student may read. Says what the rounding costs: top-1 and mean
average precision of the new questions, exact and as recorded.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer

from benchmarks import records
from dse.data.helpdesk import TEACHER_FILE, hash_texts, load_vectors, read_questions, split_questions
from dse.evaluation.machine import versions
from dse.quickstart import cosines, judge

FILE = records.ROOT / "src" / "dse" / "data" / "helpdesk" / TEACHER_FILE


def main() -> None:
    """Embed, compress, write, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, help="Folder or hub id of a SentenceTransformer.")
    parser.add_argument("--dimensions", type=int, default=384, help="Principal components kept.")
    options = parser.parse_args()
    folder = Path(options.teacher)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(options.teacher))
    questions, _ = read_questions()
    texts = [question.text for question in questions]
    teacher = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    exact = teacher.encode(texts, normalize_embeddings=True, show_progress_bar=True)  # (n, D)
    with (folder / "model.safetensors").open("rb") as weights:
        sha256 = hashlib.file_digest(weights, "sha256").hexdigest()
    name = Path(options.teacher).name
    about = {
        "teacher": name,
        "weights_sha256": sha256,
        "texts": hash_texts(texts),
        "command": f"python -m benchmarks.helpdesk_teacher --teacher {name} --dimensions {options.dimensions}",
        "versions": ", ".join(f"{package} {version}" for package, version in versions().items()),
    }
    split = split_questions(questions)
    write_vectors(exact, np.concatenate([split.catalogue, split.log]), options.dimensions, about)
    recorded, _ = load_vectors(FILE, texts)
    for kind, vectors in (("exact", exact), ("recorded", recorded)):
        top1, average_precision = judge(cosines(vectors[split.queries], vectors[split.catalogue]), split.relevant)
        print(f"{kind:<10} top-1 {top1:.4f}  MAP {average_precision:.4f}")
    print(f"{FILE.relative_to(records.ROOT)}: {FILE.stat().st_size:,} bytes")


def write_vectors(vectors: np.ndarray, rows: np.ndarray, dimensions: int, about: dict[str, str]) -> None:
    """Write the first principal components, not centred, which keep products best: (n, D) -> (n, dimensions).

    Args:
        vectors: Of all texts.
        rows: Those that decide the axes.
        dimensions: How many components.
        about: Metadata.
    """
    _, _, axes = np.linalg.svd(vectors[rows], full_matrices=False)  # (D, D), by falling share of the vectors' length
    components = vectors @ axes[:dimensions].T  # (n, dimensions)
    scale = (np.abs(components).max(axis=0) / 127).astype(np.float32)  # (dimensions,)
    rounded = np.rint(components / scale).astype(np.int8)
    temporary = FILE.with_name(f".{FILE.name}.tmp")
    save_file({"vectors": rounded, "scale": scale}, temporary, about)
    os.replace(temporary, FILE)


if __name__ == "__main__":
    main()
