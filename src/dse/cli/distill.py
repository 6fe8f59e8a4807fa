"""`dse teacher`, `label`, `distill`: the way to a student. torch is imported inside, so that help comes at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dse.cli import options as o
from dse.cli.config import ConfigOption
from dse.cli.main import app


@app.command()
def teacher(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the teacher.")],
    config: ConfigOption = None,
    task: o.TaskOption = None,
    data: o.DataOption = None,
    backbone: o.BackboneOption = None,
    kind: o.KindOption = None,
    labels: o.LabelsOption = None,
    positive: o.PositiveOption = None,
    span: o.RangeOption = None,
    columns: o.ColumnsOption = None,
    skip_bad_rows: o.SkipOption = False,
    epochs: o.EpochsOption = 3,
    batch_size: o.BatchOption = 16,
    accumulation: o.AccumulationOption = 1,
    learning_rate: o.RateOption = None,
    patience: o.PatienceOption = None,
    regression_loss: Annotated[
        Literal["bce", "mse"],
        typer.Option("--regression-loss", help="bce (0..1, sigmoid) or mse (raw labels, as the paper)."),
    ] = "bce",
    teacher_pooling: o.TeacherPoolingOption = "cls",
    bootstrap_pairs: o.BootstrapOption = 0,
    head_steps: o.HeadStepsOption = 256,
    max_seq_length: o.LengthOption = None,
    dtype: o.DtypeOption = "auto",
    seed: o.SeedOption = 42,
    as_json: o.JsonOption = False,
) -> None:
    """Fine-tune a cross-encoder; its best checkpoint is chosen on a tenth of the training rows."""
    o.need_training()
    the_task = o.the_task(task, kind, labels, positive, span)
    pairs = o.read_pairs(data, the_task, "train", columns, skip_bad_rows)
    from dse.pipeline import hold_out, make_teacher
    from dse.training.settings import Training

    train, validation = hold_out(pairs, seed)
    training = Training(
        epochs=epochs,
        batch_size=batch_size,
        accumulation=accumulation,
        learning_rate=learning_rate,
        head_steps=head_steps,
        patience=patience,
        dtype=dtype,
        seed=seed,
    )
    make_teacher(
        o.the_backbone(backbone),
        train,
        the_task,
        output,
        validation=validation,
        training=training,
        regression_loss=regression_loss,
        max_seq_length=max_seq_length,
        pooling=teacher_pooling,
        bootstrap_pairs=bootstrap_pairs,
    )
    o.show({"teacher": str(output)}, f"The teacher is in {output}.", as_json)


@app.command()
def label(
    teacher: Annotated[str | None, typer.Argument(help="Cross-encoder: folder or hub id. Not with --folds.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file of scores; gone on with.")] = Path(
        "scores.parquet"
    ),
    task: o.TaskOption = None,
    data: o.DataOption = None,
    split: Annotated[str, typer.Option("--split", rich_help_panel=o.DATA)] = "train",
    folds: Annotated[int, typer.Option("--folds", help="Cross-fit: scores of K teachers trained without them.")] = 0,
    backbone: o.BackboneOption = None,
    teacher_labels: o.TeacherLabelsOption = None,
    kind: o.KindOption = None,
    labels: o.LabelsOption = None,
    positive: o.PositiveOption = None,
    span: o.RangeOption = None,
    columns: o.ColumnsOption = None,
    skip_bad_rows: o.SkipOption = False,
    epochs: o.EpochsOption = 3,
    learning_rate: o.RateOption = None,
    batch_size: o.BatchOption = 16,
    dtype: o.DtypeOption = "auto",
    seed: o.SeedOption = 42,
    as_json: o.JsonOption = False,
) -> None:
    """Score pairs with a teacher and keep the raw logits; a killed run loses at most 2,000 pairs of work."""
    if (teacher is None) == (folds == 0):
        raise typer.BadParameter("give a TEACHER, or --folds K to train K of them.")
    the_task = o.the_task(task, kind, labels, positive, span)
    pairs = o.read_pairs(data, the_task, split, columns, skip_bad_rows, labelled=folds > 0)
    from dse.teacher import cross_fit, label_pairs, load_teacher
    from dse.training.settings import Training

    bar = o.on_terminal()
    if teacher is not None:
        model = load_teacher(teacher, the_task, o.comma(teacher_labels) or None)
        scores = label_pairs(
            model,
            pairs,
            the_task,
            output,
            batch_size=batch_size,
            dtype=dtype,
            show_progress_bar=bar,
        )
    else:
        o.need_training()
        training = Training(epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, seed=seed)
        scores = cross_fit(
            o.the_backbone(backbone), pairs, the_task, output, folds=folds, training=training, show_progress_bar=bar
        )
    result = {"scores": str(output), "pairs": len(pairs), "mean": float(scores.mean()), "std": float(scores.std())}
    text = f"{len(pairs)} pairs scored in {output} (mean {scores.mean():.2f}, standard deviation {scores.std():.2f})."
    o.show(result, text, as_json)


@app.command()
def distill(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the student; gone on with if it exists.")],
    config: ConfigOption = None,
    task: o.TaskOption = None,
    data: o.DataOption = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            help="Cross-encoder: folder or hub id. Default: fine-tune one from the backbone.",
            rich_help_panel=o.MODEL,
        ),
    ] = None,
    backbone: o.BackboneOption = None,
    teacher_labels: o.TeacherLabelsOption = None,
    kind: o.KindOption = None,
    labels: o.LabelsOption = None,
    positive: o.PositiveOption = None,
    span: o.RangeOption = None,
    columns: o.ColumnsOption = None,
    skip_bad_rows: o.SkipOption = False,
    split: Annotated[
        str, typer.Option("--split", help="What to report on; never trained on.", rich_help_panel=o.DATA)
    ] = "dev",
    test_data: Annotated[
        str | None,
        typer.Option("--test-data", help="File to report on, when --data is a file.", rich_help_panel=o.DATA),
    ] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(
            "--unlabelled", help="File of further pairs, which the teacher alone judges.", rich_help_panel=o.DATA
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option("--alpha", min=0, max=1, help="Weight of the teacher; 1 needs no labels, 0 no teacher.")
    ] = 0.5,
    divergence: Annotated[
        Literal["mse", "kl"], typer.Option("--divergence", help="mse between logits, or kl.")
    ] = "mse",
    temperature: Annotated[float, typer.Option("--temperature", help="Softens kl.")] = 1.0,
    folds: Annotated[int, typer.Option("--folds", help="Learn from out-of-fold scores of K teachers.")] = 0,
    extra_pairs: Annotated[
        float,
        typer.Option(
            "--extra-pairs", min=0, help="New pairs of the training sentences for the teacher to judge, per pair."
        ),
    ] = 0.0,
    scores: Annotated[
        Path | None,
        typer.Option("--scores", help="Parquet file of teacher scores, to share. Default: in the student's folder."),
    ] = None,
    init: Annotated[
        Literal["backbone", "teacher"],
        typer.Option("--init", help="Start from the backbone or the teacher's layers.", rich_help_panel=o.MODEL),
    ] = "backbone",
    head: Annotated[
        Literal["mlp", "mlp-symmetric", "bilinear", "dot", "cosine"],
        typer.Option("--head", help="mlp, mlp-symmetric, bilinear, dot or cosine.", rich_help_panel=o.MODEL),
    ] = "mlp",
    layers: Annotated[int, typer.Option("--layers", help="K last layers.", rich_help_panel=o.MODEL)] = 4,
    average_layers: Annotated[
        bool, typer.Option("--average-layers", help="Average, not concatenate.", rich_help_panel=o.MODEL)
    ] = False,
    pooling: Annotated[
        Literal["mean", "mean_sqrt_len_tokens", "max", "cls"],
        typer.Option("--pooling", help="mean, mean_sqrt_len_tokens, max or cls.", rich_help_panel=o.MODEL),
    ] = "mean",
    skip_cls: Annotated[
        bool, typer.Option("--skip-cls", help="Pool without [CLS], as the paper's code.", rich_help_panel=o.MODEL)
    ] = False,
    projection: Annotated[
        int | None, typer.Option("--projection", help="Width of a linear projection.", rich_help_panel=o.MODEL)
    ] = None,
    freeze_backbone: Annotated[bool, typer.Option("--freeze-backbone", rich_help_panel=o.MODEL)] = False,
    max_seq_length: o.LengthOption = None,
    epochs: o.EpochsOption = 3,
    batch_size: o.BatchOption = 16,
    accumulation: o.AccumulationOption = 1,
    learning_rate: o.RateOption = None,
    head_learning_rate: Annotated[float | None, typer.Option("--head-learning-rate", rich_help_panel=o.TRAIN)] = 5e-4,
    head_steps: o.HeadStepsOption = 256,
    cosine_steps: Annotated[
        int,
        typer.Option(
            "--cosine-steps",
            min=0,
            help="Most steps in which an mlp head first learns the cosine of its backbone.",
            rich_help_panel=o.TRAIN,
        ),
    ] = 1024,
    teacher_epochs: Annotated[
        int, typer.Option("--teacher-epochs", help="When it is fine-tuned here.", rich_help_panel=o.TRAIN)
    ] = 3,
    teacher_pooling: o.TeacherPoolingOption = "cls",
    bootstrap_pairs: o.BootstrapOption = 0,
    patience: o.PatienceOption = None,
    speed: o.SpeedOption = True,
    dtype: o.DtypeOption = "auto",
    seed: o.SeedOption = 42,
    as_json: o.JsonOption = False,
) -> None:
    """Turn a teacher into a student: label, train, evaluate, report. Run it again to go on where it stopped."""
    o.need_training()
    the_task = o.the_task(task, kind, labels, positive, span)
    train = o.read_pairs(data, the_task, "train", columns, skip_bad_rows, labelled=alpha < 1)
    test = o.read_pairs(test_data or data, the_task, split, columns, skip_bad_rows, labelled=alpha < 1)
    more = o.read_pairs(unlabelled, None, "train", columns, skip_bad_rows, labelled=False) if unlabelled else None
    from dse.pipeline import Recipe, make_student
    from dse.training.losses import Distillation
    from dse.training.settings import Training

    common: dict[str, Any] = {"batch_size": batch_size, "dtype": dtype, "seed": seed, "patience": patience}
    common |= {"head_steps": head_steps}
    recipe = Recipe(
        backbone=o.the_backbone(backbone),
        teacher=teacher,
        teacher_labels=o.comma(teacher_labels) or None,
        init=init,
        folds=folds,
        extra_pairs=extra_pairs,
        teacher_pooling=teacher_pooling,
        bootstrap_pairs=bootstrap_pairs,
        student={
            "head": head,
            "num_layers": layers,
            "average_layers": average_layers,
            "pooling": pooling,
            "skip_cls": skip_cls,
            "projection": projection,
            "freeze_backbone": freeze_backbone,
            "max_seq_length": max_seq_length,
        },
        distillation=Distillation(alpha, divergence, temperature),
        training=Training(
            epochs=epochs,
            accumulation=accumulation,
            learning_rate=learning_rate,
            head_learning_rate=head_learning_rate,
            cosine_steps=cosine_steps,
            **common,
        ),
        teacher_training=Training(epochs=teacher_epochs, **common),
    )
    report = make_student(
        train,
        test,
        the_task,
        recipe,
        output,
        unlabelled=more,
        split=split,
        scores=scores,
        measure_speed=speed,
        command=o.command_line(),
        show_progress_bar=o.on_terminal(),
    )
    o.show(
        report.to_dict(),
        f"{report.table()}\n\nThe student is in {output}, the report in {output}/report/report.md.",
        as_json,
    )
