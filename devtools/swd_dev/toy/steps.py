"""The steps that make the toy world's files, in order.

Each leaves its result in the run's folder, and is skipped, or goes on where it stopped, when that result is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from swd_dev.toy.autoencoder import load_autoencoder
from swd_dev.toy.autoencoder_training import make_encoder, train_decoder
from swd_dev.toy.captions import split
from swd_dev.toy.classifier import load_classifier, train_classifier
from swd_dev.toy.data import TrainingData, load_pictures, make_pictures
from swd_dev.toy.export import export
from swd_dev.toy.model import load_teacher, save_teacher
from swd_dev.toy.pictures import draw_batch, to_pictures
from swd_dev.toy.sampling import Velocity, guided, sample_euler, velocity_of
from swd_dev.toy.sheets import save_sheet
from swd_dev.toy.student import StudentData, begin, make_pairs, train_student
from swd_dev.toy.teacher_set import load_teacher_set, make_teacher_set
from swd_dev.toy.text import FULL, SHORT, Features
from swd_dev.toy.training import Settings, TeacherTraining, run_training
from swd_dev.toy.world import encode_captions

# Every so many training captions has features of all 77 tokens too.
FULL_EVERY = 8
EVALUATED = 160
SHEET_CAPTIONS = 16


@dataclass(frozen=True)
class Run:
    """`folder` holds the results, `clip` is the seeded CLIP-L, `settings` are those of the teacher."""

    folder: Path
    clip: Path
    settings: Settings

    @property
    def vae(self) -> Path:
        return self.folder / "vae.safetensors"

    @property
    def teacher(self) -> Path:
        return self.folder / "teacher.safetensors"

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures.safetensors"

    @property
    def classifier(self) -> Path:
        return self.folder / "classifier.safetensors"

    @property
    def student(self) -> Path:
        return self.folder / "student"

    @property
    def teacher_set(self) -> Path:
        return self.folder / "teacher_set.safetensors"


def encoder(run: Run) -> None:
    """Fit the encoder."""
    if not run.vae.is_file():
        make_encoder(run.vae)


def decoder(run: Run) -> None:
    """Train the decoder; the latents, and so the other steps, do not depend on it."""
    done = run.folder / "decoder.done"
    if not done.is_file():
        train_decoder(run.vae)
        done.touch()


def text(run: Run) -> None:
    """Encode the captions: all training captions in short, some of them and the evaluated ones in full."""
    training, held_out = split().training, split().held_out
    encode_captions([caption.text for caption in training], run.folder, run.clip, tokens=SHORT)
    full = [*held_out[:EVALUATED], *training[::FULL_EVERY]]
    encode_captions(["", *(caption.text for caption in full)], run.folder, run.clip, tokens=FULL)


def pictures(run: Run) -> None:
    """Draw and encode the training pictures."""
    if not run.pictures.is_file():
        make_pictures(run.pictures, load_autoencoder(run.vae), split().training)


def load_data(run: Run) -> TrainingData:
    """Everything that the teacher trains on, from the files of the steps before."""
    names = [caption.text for caption in split().training]
    return TrainingData(
        pictures=load_pictures(run.pictures),
        short=encode_captions(names, run.folder, run.clip, tokens=SHORT),
        full=encode_captions(names[::FULL_EVERY], run.folder, run.clip, tokens=FULL),
        full_captions=torch.arange(0, len(names), FULL_EVERY),
        empty=empty_caption(run),
    )


def empty_caption(run: Run) -> Features:
    """Features of the caption without a word, one row of all tokens."""
    return encode_captions([""], run.folder, run.clip, tokens=FULL)


def guided_teacher(run: Run) -> Velocity:
    """The trained teacher as it samples."""
    return guided(velocity_of(load_teacher(run.teacher)), empty_caption(run).padded())


def teacher(run: Run) -> None:
    """Train the teacher from its last checkpoint on; a sample sheet of held-out captions at each checkpoint."""
    training = TeacherTraining(load_data(run), run.settings)

    def on_save() -> None:
        save_teacher(training.average, run.teacher)
        if training.step % (5 * run.settings.checkpoint_every) == 0 or training.step == run.settings.all_steps:
            samples(run, f"samples-{training.step:05d}.png")

    run_training(training, run.settings, run.folder, on_save)


def samples(run: Run, name: str = "samples.png") -> None:
    """A sheet of held-out captions: real pictures, and the teacher's."""
    captions = split().held_out[:SHEET_CAPTIONS]
    features = encode_captions([caption.text for caption in captions], run.folder, run.clip).padded()
    vae = load_autoencoder(run.vae)
    with torch.no_grad():
        made = vae.decode(sample_euler(guided_teacher(run), features, seed=1))
    half = SHEET_CAPTIONS // 2
    real = to_pictures(draw_batch(captions))
    drawn = to_pictures(made)
    rows = [("real", real[:half]), ("teacher", drawn[:half]), ("real", real[half:]), ("teacher", drawn[half:])]
    save_sheet(rows, run.folder / name)


def dataset(run: Run) -> None:
    """Make the student's training latents with the teacher."""

    def encode(names: list[str]) -> Features:
        return encode_captions(names, run.folder, run.clip, tokens=SHORT)

    make_teacher_set(run.teacher_set, guided_teacher(run), encode)


def student(run: Run) -> None:
    """Distil the student's LoRA from the teacher on its set, from the last checkpoint on."""
    made = load_teacher_set(run.teacher_set)
    autoencoder = load_autoencoder(run.vae)
    begin(run.student, (run.teacher, run.teacher_set, run.vae))
    data = StudentData(
        make_pairs(run.student / "pairs.safetensors", made, autoencoder),
        encode_captions(made.captions, run.folder, run.clip, tokens=SHORT),
        encode_captions([""], run.folder, run.clip, tokens=SHORT),
    )
    shown = [caption.text for caption in split().held_out[:SHEET_CAPTIONS]]
    features = encode_captions(shown, run.folder, run.clip)
    train_student(run.student, load_teacher(run.teacher), data, autoencoder, features)


def classifier(run: Run) -> None:
    """Train the judge."""
    if not run.classifier.is_file():
        train_classifier(run.classifier)


def evaluate(run: Run) -> None:
    """Judge every way to sample on captions never trained on; needs the student's LoRA for the rows of the student."""
    # ComfyUI must be on the path before these load.
    from swd_dev.toy import evaluation
    from swd_dev.toy.comfyui_models import load_models

    captions = split().held_out[:EVALUATED]
    protocol = evaluation.Protocol(
        captions=captions,
        features=encode_captions([caption.text for caption in captions], run.folder, run.clip),
        empty=empty_caption(run),
        autoencoder=load_autoencoder(run.vae),
        classifier=load_classifier(run.classifier),
        depth=run.settings.depth,
    )
    rows, pictures = evaluation.evaluate(protocol, load_models(run.teacher, run.student))
    evaluation.save_results(rows, run.folder)
    shown = [(label, to_pictures(made[:SHEET_CAPTIONS])) for label, made in pictures.items()]
    save_sheet(shown, run.folder / "evaluation.jpg")
    print(evaluation.as_markdown(rows))


def export_files(run: Run) -> None:
    """Copy the finished files into the repository."""
    print(f"{export(run.folder) / 1e6:.1f} MB in all")


STEPS: dict[str, Callable[[Run], None]] = {
    "encoder": encoder,
    "decoder": decoder,
    "text": text,
    "pictures": pictures,
    "teacher": teacher,
    "dataset": dataset,
    "student": student,
    "classifier": classifier,
    "evaluate": evaluate,
    "export": export_files,
}
