"""How fast a cross-encoder labels pairs: `teacher_scores` against `CrossEncoder.predict`, same logits."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from sentence_transformers import CrossEncoder
from torch.nn import Identity

from dse.bench.harness import Figure, Result
from dse.bench.sentences import bench_pairs
from dse.encoding.offline import offline_backbone
from dse.encoding.runtime import resolve_dtype
from dse.evaluation.timing import alternate, rate, ratios
from dse.teacher.fit import fit_teacher
from dse.teacher.scoring import teacher_scores
from dse.training.settings import Training

TASKS = (("mrpc", "dev"), ("qqp", "dev"), ("stsb", "dev"))


def run(*, data: Path | None, backbone: str | None, quick: bool, command: str, teacher: str | None = None) -> Result:
    """Measure labelling with defaults on both sides.

    Args:
        data: Folder of data sets; None takes pairs of help-desk questions.
        backbone: What the teacher is fine-tuned from, outside the timed part; None takes the offline one.
        quick: Fewer pairs.
        command: The command line, for the record.
        teacher: A cross-encoder to use as it is, instead of fine-tuning one.

    Returns:
        `labelling_speedup`, `labelling_max_error` and `labelling_max_error_float32`.
    """
    model, what = _teacher(data, backbone, quick, teacher)
    pairs, origin = mixed_pairs(data, 240 if quick else 1_500)
    rounds = alternate(lambda: predict(model, pairs), lambda: teacher_scores(model, pairs), runs=3)
    speedups = ratios(rounds)
    reference = predict(model, pairs)
    error = max_error(reference, teacher_scores(model, pairs))
    exact = max_error(reference, teacher_scores(model, pairs, dtype="float32"))
    dtype = str(resolve_dtype("auto", model.device)).removeprefix("torch.")
    return Result(
        "labelling",
        command,
        [
            Figure.from_runs(speedups, "labelling_speedup", "x", target=2.0),
            Figure("labelling_max_error", error, "sd"),
            Figure("labelling_max_error_float32", exact, "sd", target=1e-4),
        ],
        [
            {"way": "CrossEncoder.predict", "pairs/s": rate(len(pairs), rounds, 0), "speed-up": "1.00"},
            {
                "way": f"dse teacher_scores ({dtype})",
                "pairs/s": rate(len(pairs), rounds, 1),
                "speed-up": f"{median(speedups):.2f}",
            },
        ],
        [
            f"Pairs: {len(pairs):,} distinct ones, {origin}.",
            f"Teacher: {what}; its logits have a standard deviation of {reference.std():.2f}.",
            "Errors: largest difference to CrossEncoder.predict's float32 logits, in standard deviations of these.",
        ],
    )


def predict(teacher: CrossEncoder, pairs: list[tuple[str, str]]) -> np.ndarray:
    """Raw logits as sentence-transformers computes them, (n, C)."""
    logits = teacher.predict(pairs, activation_fn=Identity(), show_progress_bar=False)
    return np.asarray(logits).reshape(len(pairs), -1)


def max_error(reference: np.ndarray, logits: np.ndarray) -> float:
    """Largest difference of two sets of logits (n, C), in standard deviations of the first, class by class."""
    return float((np.abs(logits - reference) / reference.std(axis=0)).max())


def mixed_pairs(data: Path | None, n: int) -> tuple[list[tuple[str, str]], str]:
    """Distinct pairs in equal parts of MRPC, QQP and STS-B (short and long ones), and where they come from."""
    if data is None:
        pairs, _, origin = bench_pairs(None, "helpdesk", n)
        return pairs.tuples(), origin
    drawn: dict[tuple[str, str], None] = {}
    for number, (task, split) in enumerate(TASKS):
        share = (n - len(drawn)) // (len(TASKS) - number)
        fresh = [pair for pair in bench_pairs(data, task, split=split)[0].tuples() if pair not in drawn]
        drawn.update(dict.fromkeys(fresh[:share]))
    order = np.random.default_rng(0).permutation(len(drawn))
    rows = list(drawn)
    return [rows[i] for i in order], f"{', '.join(f'{task} {split}' for task, split in TASKS)} of {data}"


def _teacher(data: Path | None, backbone: str | None, quick: bool, teacher: str | None) -> tuple[CrossEncoder, str]:
    if teacher is not None:
        return CrossEncoder(teacher), teacher
    # Logits of an untrained classifier are all alike; errors relative to their spread would mean nothing. After several
    # hundred pairs of MRPC they still are (0.1), while graded similarity is learned at once.
    pairs, task, origin = bench_pairs(data, "stsb", 320 if quick else 960)
    with TemporaryDirectory() as folder:
        training = Training(epochs=2, batch_size=16, learning_rate=2e-4)
        fit_teacher(backbone or offline_backbone(), pairs, task, folder, training=training)
        model = CrossEncoder(folder)  # as a user loads it; the one in memory may still compute as it was trained
    return model, f"fine-tuned here for two epochs on {len(pairs)} pairs, {origin}"
