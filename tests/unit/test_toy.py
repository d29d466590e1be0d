"""The toy world without ComfyUI: captions, pictures, the judge's questions, the teacher's training."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
import torch
from swd_dev.toy import training as training_module
from swd_dev.toy.captions import BACKGROUNDS, DEMO_CAPTION, Caption, Group, all_pairs, all_singles, split
from swd_dev.toy.classifier import QUESTIONS, answers
from swd_dev.toy.data import Encoded, TrainingData
from swd_dev.toy.metrics import frechet_distance
from swd_dev.toy.model import load_teacher, make_trainee, save_teacher
from swd_dev.toy.pictures import RGB, SIDE, draw, draw_batch, to_pictures
from swd_dev.toy.sampling import GUIDANCE, guided, noise_for, sample_euler, shifted_sigmas, velocity_of
from swd_dev.toy.text import Features
from swd_dev.toy.text_start import whiten_text_layers
from swd_dev.toy.training import Batch, Settings, TeacherTraining, flow_matching_loss, learning_rate, run_training


def test_thousands_of_captions_all_different() -> None:
    captions = [*all_pairs(), *all_singles()]
    assert len({caption.text for caption in captions}) == len(captions) == 7_668


def test_no_caption_is_both_trained_on_and_held_out() -> None:
    training, held_out = ({caption.text for caption in part} for part in (split().training, split().held_out))
    assert not training & held_out
    assert len(training) == len(split().training)
    assert len(held_out) == len(split().held_out)
    assert split().held_out[0] == DEMO_CAPTION
    assert DEMO_CAPTION.text == "two red circles above a blue square"


def test_the_split_is_the_one_that_the_committed_teacher_was_trained_on() -> None:
    text = "\n".join(caption.text for part in (split().training, split().held_out) for caption in part)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "a7f867bb050ab977"


def test_a_picture_depends_on_caption_and_seed_alone() -> None:
    caption = split().training[0]
    assert draw(caption, 3).tobytes() == draw(caption, 3).tobytes()
    assert draw(caption, 3).tobytes() != draw(caption, 4).tobytes()
    pixels = draw_batch([caption], lambda _: 3)
    assert pixels.shape == (1, 3, SIDE, SIDE)
    assert to_pictures(pixels)[0].tobytes() == draw(caption, 3).tobytes()


def _blobs(picture: torch.Tensor, colour: str) -> list[tuple[float, float]]:
    """Centres (x, y) of the connected areas of a colour, found by flooding."""
    wanted = torch.tensor(RGB[colour])[:, None, None]
    mask = ((picture * 255).round() - wanted).abs().amax(0) < 2
    centres = []
    while mask.any():
        queue = [tuple(mask.nonzero()[0].tolist())]
        area = []
        while queue:
            y, x = queue.pop()
            if 0 <= y < SIDE and 0 <= x < SIDE and mask[y, x]:
                mask[y, x] = False
                area.append((x, y))
                queue += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        if len(area) > 100:
            centres.append((sum(x for x, _ in area) / len(area), sum(y for _, y in area) / len(area)))
    return centres


@pytest.mark.parametrize("seed", range(12))
def test_a_picture_shows_what_its_caption_says(seed: int) -> None:
    order = random.Random(seed)
    caption = order.choice([c for c in all_pairs() if c.second and c.first.colour != c.second.colour])
    assert caption.second
    picture = draw_batch([caption], seed)[0]
    corner = (picture[:, 0, 0] * 255).round().tolist()
    assert tuple(map(int, corner)) == RGB[caption.background]
    first, second = _blobs(picture, caption.first.colour), _blobs(picture, caption.second.colour)
    assert (len(first), len(second)) == (caption.first.count, caption.second.count)
    axis = {"left of": 0, "above": 1}[caption.where]
    for one in first:
        for other in second:
            assert other[axis] - one[axis] > SIDE / 4


@pytest.mark.parametrize(("shape", "share"), [("square", 1.0), ("circle", 0.785), ("triangle", 0.5)])
def test_shapes_fill_their_bounding_box_as_they_should(shape: str, share: float) -> None:
    caption = Caption(Group(1, "red", shape), "in the middle", None, "white")
    picture = draw_batch([caption])[0]
    inside = ((picture * 255 - torch.tensor(RGB["red"])[:, None, None]).abs().amax(0) < 2).nonzero()
    height, width = (inside.amax(0) - inside.amin(0) + 1).tolist()
    assert len(inside) / (height * width) == pytest.approx(share, abs=0.04)


def test_which_group_is_first_matters() -> None:
    a, b = Group(2, "red", "circle"), Group(1, "blue", "square")
    first, swapped = answers([Caption(a, "above", b, "white"), Caption(b, "above", a, "white")])
    assert not torch.equal(first, swapped)


def test_every_answer_is_asked_for() -> None:
    wanted = answers([*all_pairs(), *all_singles()])
    for number, choices in enumerate(QUESTIONS.values()):
        assert wanted[:, number].unique().numel() == len(choices)


def test_frechet_distance_of_known_gaussians() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(20_000, 3, generator=generator)
    b = 2 * torch.randn(20_000, 3, generator=generator) + 1
    # |m|^2 + sum (s1 - s2)^2 = 3 + 3
    assert frechet_distance(a, b) == pytest.approx(6, rel=0.05)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


SMALL = {"depth": 1, "batch": 4, "warmup": 2, "small_every": 3, "checkpoint_every": 4}
TINY = Settings(steps=8, guidance_steps=4, full_from=0.5, decay_from=0.5, unconditional=0.5, **SMALL)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    generator = torch.Generator().manual_seed(1)

    def random_features(count: int, tokens: int) -> Features:
        context = torch.randn(count, tokens, 768, generator=generator)
        return Features(context.half(), torch.randn(count, 768, generator=generator).half())

    pictures = {
        side: Encoded(torch.randn(12, 16, side, side, generator=generator).half(), torch.arange(12) % 6)
        for side in (8, 16)
    }
    short, full, empty = random_features(6, 5), random_features(3, 9), random_features(1, 9)
    return TrainingData(pictures, short, full, torch.tensor([0, 2, 4]), empty)


def test_training_visits_all_sizes_and_both_text_lengths(data: TrainingData) -> None:
    training = TeacherTraining(data, TINY)
    lines = [training.train_step() for _ in range(TINY.all_steps)]
    assert {line["side"] for line in lines} == {8, 16}
    assert [line["tokens"] for line in lines] == [5, 5, 5, 5, 9, 5, 9, 5, 9, 5, 9, 5]


def test_a_resumed_training_is_identical(data: TrainingData, tmp_path: Path) -> None:
    whole, first, second = (tmp_path / name for name in ("whole", "first", "second"))
    for folder in (whole, first, second):
        folder.mkdir()
    straight = TeacherTraining(data, TINY)
    run_training(straight, TINY, whole, lambda: None)
    stopped = TeacherTraining(data, TINY)
    while stopped.step < 4:
        stopped.train_step()
    stopped.save(second / "teacher.pt")
    resumed = TeacherTraining(data, TINY)
    run_training(resumed, TINY, second, lambda: None)
    assert resumed.step == TINY.all_steps == 12
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
        assert torch.equal(straight.average[name], resumed.average[name]), name


def test_training_lowers_the_loss(data: TrainingData) -> None:
    settings = Settings(steps=400, depth=1, batch=8, warmup=5, small_every=1000, full_from=1.0)
    training = TeacherTraining(data, settings)
    batch = Batch(data.pictures[16].latents[:6].float(), Features(*(part.float() for part in data.short)))

    def loss() -> float:
        with torch.no_grad():
            return flow_matching_loss(training.model, batch, torch.Generator().manual_seed(0)).item()

    before = loss()
    for _ in range(60):
        training.train_step()
    assert loss() < 0.95 * before


def test_learning_rate_warms_up_stays_and_falls_to_nothing() -> None:
    settings = Settings(steps=100, guidance_steps=20, warmup=10, decay_from=0.5, rate=1.0, restart=0.4)
    rates = [learning_rate(step, settings) for step in range(121)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:50] == [1.0] * 40
    assert rates[75] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0, abs=1e-3)
    assert [rates[100], rates[110], rates[120]] == pytest.approx([0.4, 0.2, 0.0])


def test_the_loss_is_that_of_the_velocity_noise_minus_clean() -> None:
    """A model that knows the clean latents has no error; one that ignores them has that of unit noise."""
    clean = torch.full((4, 16, 4, 4), 0.5)

    class Known:
        def __call__(self, noised, context, pooled, timestep):
            sigma = (timestep / 1000)[:, None, None, None]
            return type("Output", (), {"sample": (noised - clean) / sigma})

    batch = Batch(clean, Features(torch.zeros(4, 1, 768), torch.zeros(4, 768)))
    assert flow_matching_loss(Known(), batch, torch.Generator().manual_seed(0)).item() < 1e-6


def test_the_saved_teacher_computes_what_the_trainee_does(data: TrainingData, tmp_path: Path) -> None:
    training = TeacherTraining(data, TINY)
    for _ in range(4):
        training.train_step()
    weights = {name: value.half().float() for name, value in training.model.state_dict().items()}
    training.model.load_state_dict(weights)
    save_teacher(weights, tmp_path / "teacher.safetensors")
    loaded = load_teacher(tmp_path / "teacher.safetensors")
    features = Features(*(part.float() for part in data.short.at(torch.arange(2))))
    latents, sigma = torch.randn(2, 16, 12, 16), torch.tensor([0.3, 0.9])
    with torch.no_grad():
        own = velocity_of(training.model)(latents, features, sigma)
        wide = velocity_of(loaded)(latents, features.padded(), sigma)
    assert own.abs().max() > 0
    assert torch.allclose(own, wide, atol=1e-5)


def test_euler_follows_the_velocity_exactly_when_it_is_constant() -> None:
    features = Features(torch.zeros(2, 1, 1), torch.zeros(2, 1))
    made = sample_euler(lambda latents, _features, _sigma: torch.ones_like(latents), features, seed=5, side=4, steps=7)
    assert torch.allclose(made, noise_for(2, 4, 5) - 1, atol=1e-5)


def test_guidance_moves_away_from_what_the_empty_caption_gives() -> None:
    features = Features(torch.full((2, 3, 1), 5.0), torch.zeros(2, 1))
    empty = Features(torch.full((1, 7, 1), 1.0), torch.zeros(1, 1))

    def velocity(latents, texts, sigma):
        return latents * 0 + texts.context.mean(dim=(1, 2)).reshape(-1, 1, 1, 1)

    made = guided(velocity, empty)(torch.zeros(2, 16, 4, 4), features, torch.ones(2))
    assert torch.equal(made, torch.full((2, 16, 4, 4), 1 + GUIDANCE * 4))


def test_some_captions_are_left_out_after_the_first_steps_alone(data: TrainingData, monkeypatch) -> None:
    contexts = []

    def record(model, batch, generator):
        contexts.append(batch.features.context)
        return flow_matching_loss(model, batch, generator)

    monkeypatch.setattr(training_module, "flow_matching_loss", record)
    training = TeacherTraining(data, TINY)
    for _ in range(TINY.all_steps):
        training.train_step()
    empty = data.empty.context.float()
    without = [sum(torch.equal(row, empty[0, : len(row)]) for row in context) for context in contexts]
    assert sum(without[: TINY.steps]) == 0
    assert 0 < sum(without[TINY.steps :]) < 4 * TINY.guidance_steps


def test_the_text_layers_begin_with_equal_spread_in_every_channel(data: TrainingData) -> None:
    model = make_trainee(1, seed=0)
    generator = torch.Generator().manual_seed(0)
    # As CLIP's: a large common part, and directions of very different strength.
    spread = torch.logspace(0, -1.5, 768)
    tokens, pooled = (40 + spread * torch.randn(*shape, 768, generator=generator) for shape in ((300, 5), (900,)))
    whiten_text_layers(model, Features(tokens, pooled), Features(tokens[:, :2], pooled), seed=1)
    with torch.no_grad():
        for layer, given in ((model.context_embedder, tokens), (model.time_text_embed.text_embedder.linear_1, pooled)):
            seen = layer(given).flatten(0, -2)
            assert seen.mean(0).abs().max() < 0.05
            assert seen.std(0).sub(1).abs().max() < 0.15


def test_the_grid_is_shifted_by_three() -> None:
    sigmas = shifted_sigmas(4)
    assert sigmas == pytest.approx([1.0, 0.9, 0.75, 0.5, 0.0])


def test_backgrounds_other_than_white_are_named() -> None:
    for background in BACKGROUNDS:
        text = Caption(Group(1, "red", "circle"), "at the top", None, background).text
        assert (background in text) == (background != "white")
