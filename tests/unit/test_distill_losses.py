"""Every loss, pair and grid of the distillation against an independent formula."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from diffusers import FlowMatchEulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from small_network import TIMESTEPS, NoiseDenoiser, Pictures, alpha_bar, make_network, settings_of
from swd_pack.swd_core.distill.denoiser import FlowDenoiser, guided
from swd_pack.swd_core.distill.dmd import dmd_loss, fake_score_loss
from swd_pack.swd_core.distill.draws import Draws, Purpose, epoch_order, make_generator
from swd_pack.swd_core.distill.gan import Discriminator, discriminator_loss, generator_loss
from swd_pack.swd_core.distill.grid import DDPM_GRID, FLUX_GRID, SD3_GRID
from swd_pack.swd_core.distill.mmd import linear_mmd, rbf_mmd
from swd_pack.swd_core.distill.network import FAKE, STUDENT
from swd_pack.swd_core.distill.objective import Objective
from swd_pack.swd_core.distill.pairs import StageLatents, encode_stages, make_pair
from swd_pack.swd_core.errors import InputError
from torch import Tensor


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_grids_are_those_of_the_schedulers_upstream_uses() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(28)
    assert SD3_GRID.timesteps == pytest.approx(scheduler.sigmas[:-1].tolist(), abs=1e-6)
    assert [round(t, 4) for t in SD3_GRID.stage_timesteps()] == [1.0, 0.8959, 0.7371, 0.6022]
    assert [round(t, 4) for t in FLUX_GRID.stage_timesteps()] == [1.0, 0.8956, 0.7363, 0.6007]
    assert [round(t, 4) for t in DDPM_GRID.stage_timesteps()] == [1.0, 0.8, 0.6, 0.4]
    assert SD3_GRID.boundaries == (0, 7, 14, 18, 28)
    # Paper: MMD noise at t from 0 to about 600, up to 400 for SDXL.
    assert 0.6 < max(SD3_GRID.values(SD3_GRID.mmd)) < 0.61
    assert max(DDPM_GRID.values(DDPM_GRID.mmd)) == pytest.approx(0.4)
    with pytest.raises(InputError, match="does not lie on the grid"):
        SD3_GRID.values((20, 29))


def test_linear_mmd_is_the_pseudo_huber_distance_of_token_means() -> None:
    real, fake, c = randn(2, 5, 3), randn(2, 7, 3, seed=1), 0.001
    expected = 0.0
    for picture in range(2):
        for channel in range(3):
            d = sum(real[picture, :, channel].tolist()) / 5 - sum(fake[picture, :, channel].tolist()) / 7
            expected += (math.sqrt(d * d + c * c) - c) / 6
    assert float(linear_mmd(real, fake, c)) == pytest.approx(expected, rel=1e-5)
    assert float(linear_mmd(real, real, c)) == pytest.approx(0, abs=1e-8)


def test_rbf_mmd_is_the_double_sum_over_tokens() -> None:
    real, fake, sigma = randn(2, 4, 3), randn(2, 4, 3, seed=1), 1.7

    def kernel(a: Tensor, b: Tensor) -> float:
        return math.exp(-float(((a - b) ** 2).sum()) / (2 * sigma**2))

    expected = 0.0
    for x, y in zip(real, fake, strict=True):
        own = sum(kernel(a[i], a[j]) for a in (x, y) for i in range(4) for j in range(4) if i != j) / 12
        mixed = sum(kernel(x[i], y[j]) for i in range(4) for j in range(4)) / 16
        expected += (own - 2 * mixed) / 2
    assert float(rbf_mmd(real, fake, sigma)) == pytest.approx(expected, rel=1e-5)


def test_rbf_mmd_of_a_single_token_is_that_of_a_pair() -> None:
    """As at 2 x 2 latent pixels, which are one token: no two tokens of a picture can be compared there."""
    real, fake = randn(2, 1, 3), randn(2, 1, 3, seed=1).requires_grad_()
    loss = rbf_mmd(real, fake, 1.7)
    loss.backward()
    distances = (real - fake).square().sum(dim=(1, 2))
    expected = (-2 * torch.exp(-distances / (2 * 1.7**2))).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert fake.grad is not None and fake.grad.isfinite().all() and fake.grad.any()


def test_both_mmds_have_gradients_where_real_and_generated_agree() -> None:
    for mmd in (lambda a, b: linear_mmd(a, b, 0.0), linear_mmd, rbf_mmd):
        features = randn(2, 4, 3).requires_grad_()
        mmd(features.detach(), features).backward()
        assert features.grad is not None and features.grad.isfinite().all()


def test_the_gradient_of_dmd_is_the_difference_of_the_scores() -> None:
    sample, real, fake = (randn(2, 3, 4, 4, seed=seed) for seed in range(3))
    sample.requires_grad_()
    loss = dmd_loss(sample, real, fake)
    loss.backward()
    assert sample.grad is not None
    for index in range(2):
        size = (sample[index] - real[index]).abs().mean()
        expected = (fake[index] - real[index]) / size / sample.numel()
        assert torch.allclose(sample.grad[index], expected, rtol=1e-4, atol=1e-9)
    assert loss.item() == pytest.approx(float(0.5 * (sample.grad * sample.numel()).square().mean()), rel=1e-4)


def test_dmd_is_finite_where_the_teacher_agrees_with_the_student() -> None:
    sample = randn(1, 2, 2, 2).requires_grad_()
    dmd_loss(sample, sample.detach(), sample.detach() + 1).backward()
    assert sample.grad is not None and sample.grad.isfinite().all()


def test_the_other_losses_are_what_they_are_called() -> None:
    a, b = randn(3, 1), randn(3, 1, seed=1)
    assert float(generator_loss(a)) == pytest.approx(float(F.binary_cross_entropy_with_logits(a, torch.ones(3, 1))))
    both = F.binary_cross_entropy_with_logits(a, torch.ones(3, 1)) + F.binary_cross_entropy_with_logits(
        b, torch.zeros(3, 1)
    )
    assert float(discriminator_loss(a, b)) == pytest.approx(float(both))
    assert float(fake_score_loss(a, b)) == pytest.approx(float(((a - b) ** 2).mean()))
    assert torch.equal(guided(a, b, 4.0), b + 4 * (a - b))


def test_the_discriminator_narrows_to_one_number_and_sees_only_token_means() -> None:
    head = Discriminator(9, 4, torch.Generator().manual_seed(0))
    widths = [(layer[2].in_features, layer[2].out_features) for layer in head.layers]
    assert widths == [(9, 7), (7, 5), (5, 3), (3, 1)]
    for layer in head.layers:
        # As nn.Linear draws them.
        bound = 1 / math.sqrt(layer[2].in_features)
        assert 0.5 * bound < max(parameter.abs().max() for parameter in layer[2].parameters()) <= bound
    features = randn(2, 6, 9)
    assert torch.allclose(head(features), head(features.flip(1)), atol=1e-6)
    before = torch.random.get_rng_state()
    again = Discriminator(9, 4, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(head.parameters(), again.parameters(), strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)


def encode(pixels: Tensor) -> Tensor:
    """Stands for a VAE: not linear, 2 pixels to a latent pixel."""
    return torch.tanh(F.avg_pool2d(pixels, 2)).repeat(1, 2, 1, 1)[:, :4]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.sampled_from([(1.0, 0.8, 0.5), (0.9, 0.3, 0.1)]), st.sampled_from(["flow", "noise"]))
def test_pairs_are_those_of_a_loop_by_hand(seed: int, timesteps: tuple[float, ...], kind: str) -> None:
    sizes = [(2, 3), (4, 4), (6, 5)]
    pixels, model = randn(2, 3, 24, 20, seed=seed), make_network(kind)[1]
    stages = encode_stages(pixels, sizes, encode, 2)
    for index, (height, width) in enumerate(sizes):
        noise, t = randn(2, 4, height, width, seed=seed + 1), timesteps[index]
        pair = make_pair(stages[index], noise, [t, t], {}, model.denoiser)
        picture = F.interpolate(pixels, size=(2 * height, 2 * width), mode="area")
        assert torch.equal(pair.target, encode(picture))
        if index == 0:
            assert torch.equal(pair.noisy, noise)
            continue
        before = sizes[index - 1]
        low = encode(F.interpolate(picture, size=(2 * before[0], 2 * before[1]), mode="area"))
        grown = F.interpolate(low, size=(height, width), mode="bicubic")
        if kind == "flow":
            expected = (1 - t) * grown + t * noise
        else:
            abar = float(alpha_bar(torch.tensor(t)))
            expected = math.sqrt(abar) * grown + math.sqrt(1 - abar) * noise
        assert torch.allclose(pair.noisy, expected, atol=1e-6)


def test_clean_estimates_undo_the_noise_of_a_perfect_model() -> None:
    clean, noise, timesteps = randn(3, 4, 2, 2), randn(3, 4, 2, 2, seed=1), [0.9, 0.5, 0.1]
    flow = FlowDenoiser(lambda noisy, t, condition: noise - clean)
    ddpm = NoiseDenoiser(lambda noisy, t, condition: noise, alpha_bar)
    for denoiser in (flow, ddpm):
        noisy = denoiser.add_noise(clean, noise, timesteps)
        assert torch.allclose(denoiser.clean(noisy, timesteps, {}), clean, atol=1e-5)
        assert torch.equal(denoiser.start(noise, timesteps), noise)


def test_every_random_number_has_a_seed_of_its_own() -> None:
    def numbers(seed: int, purpose: Purpose, item: int) -> Tensor:
        return Draws(seed, [item]).noise(purpose, (4096,))[0]

    streams = [
        numbers(seed, purpose, item) for seed in (0, 1) for purpose in (Purpose.INPUT, Purpose.MMD) for item in (0, 1)
    ]
    table = torch.corrcoef(torch.stack(streams)) - torch.eye(len(streams))
    assert table.abs().max() < 0.08
    assert torch.equal(numbers(0, Purpose.INPUT, 1), Draws(0, [5, 1]).noise(Purpose.INPUT, (4096,))[1])
    orders = [tuple(epoch_order(3, epoch, 20)) for epoch in range(3)]
    assert len(set(orders)) == 3 and all(sorted(order) == list(range(20)) for order in orders)
    values = [0.1, 0.2, 0.3]
    assert set(Draws(0, range(50)).levels(Purpose.DMD, values)) == set(values)
    assert make_generator(2**64 + 5, Purpose.INPUT).initial_seed() != make_generator(4, Purpose.INPUT).initial_seed()


def test_a_later_version_draws_the_same_numbers() -> None:
    """A run that goes on from an older checkpoint relies on it."""
    seeds = {
        (0, Purpose.INPUT, 0): 15415986080105920549,
        (42, Purpose.MMD, 7): 16495626040469024299,
        (2**64 - 1, Purpose.HEAD, 1): 12714605392034443012,
    }
    assert {key: make_generator(*key).initial_seed() for key in seeds} == seeds
    assert Draws(42, [3]).levels(Purpose.DMD, range(100)) == [10]
    assert epoch_order(42, 1, 8) == [4, 6, 1, 5, 3, 2, 0, 7]


@pytest.mark.parametrize("kind", ["flow", "noise"])
def test_the_student_loss_is_the_sum_of_its_parts_written_out(kind: str) -> None:
    network = make_network(kind)[1]
    values = settings_of(mmd_weight=0.7, dmd_weight=1.3, gan_weight=0.2, teacher_cfg=3.0, mmd_network="teacher")
    for role in (STUDENT, FAKE):
        network.adapters.add(role, torch.Generator().manual_seed(7))
        for target in network.adapters.targets:
            network.adapters.layer(role, target.name).B.data += 0.1
    head = Discriminator(16, 4, torch.Generator().manual_seed(1))
    data = Pictures()
    objective = Objective(network, SD3_GRID, values, head, data.unconditional)
    stage, condition = data.picture(0, 1)
    batch = StageLatents(stage.target[None].contiguous(), stage.previous[None].contiguous())
    condition = {"text": condition["text"][None]}
    draws, t = Draws(5, [0]), [TIMESTEPS[1]]
    pair = make_pair(batch, draws.noise(Purpose.INPUT, batch.target.shape[1:]), t, condition, network.denoiser)
    d, empty = network.denoiser, {"text": torch.zeros(1, 6)}
    with network.installed(), torch.no_grad():
        losses = objective.student(pair, draws)

        def run(role: str | None, x: Tensor, t: Sequence[float], c: dict[str, Tensor]) -> Tensor:
            with network.adapters.use(role):
                return d.clean(x, t, c)

        sample = run(STUDENT, pair.noisy, t, condition)
        td, n = draws.levels(Purpose.DMD, SD3_GRID.values((12, 28))), draws.noise(Purpose.DMD, sample.shape[1:])
        noisy = d.add_noise(sample, n, td)
        real = run(None, noisy, td, empty)
        real = real + 3.0 * (run(None, noisy, td, condition) - real)
        dmd = dmd_loss(sample, real, run(FAKE, noisy, td, condition))
        gan = F.softplus(-head(network.features(FAKE, noisy, td, condition))).mean()
        tm, n = draws.levels(Purpose.MMD, SD3_GRID.values((18, 28))), draws.noise(Purpose.MMD, sample.shape[1:])
        features = [network.features(None, d.add_noise(x, n, tm), tm, condition) for x in (pair.target, sample)]
    expected = 0.7 * linear_mmd(*features) + 1.3 * dmd + 0.2 * gan
    assert float(losses["dmd"]) == pytest.approx(float(dmd), rel=1e-5)
    assert float(losses["total"]) == pytest.approx(float(expected), rel=1e-5)


def test_the_fake_loss_is_the_sum_of_its_parts_and_teaches_no_student() -> None:
    network = make_network()[1]
    for role in (STUDENT, FAKE):
        network.adapters.add(role, torch.Generator().manual_seed(7))
        for target in network.adapters.targets:
            network.adapters.layer(role, target.name).B.data += 0.1
    head = Discriminator(16, 4, torch.Generator().manual_seed(1))
    objective = Objective(network, SD3_GRID, settings_of(discriminator_weight=0.3), head, None)
    stage, condition = Pictures().picture(0, 0)
    draws, t = Draws(5, [0]), [1.0]
    one = {"text": condition["text"][None]}
    batch = StageLatents(stage.target[None].contiguous(), None)
    pair = make_pair(batch, draws.noise(Purpose.INPUT, batch.target.shape[1:]), t, one, network.denoiser)
    with network.installed():
        losses = objective.fake(pair, draws)
        losses["total"].backward()
        with torch.no_grad(), network.adapters.use(STUDENT):
            sample = network.denoiser.clean(pair.noisy, t, one)
        level, noise = draws.levels(Purpose.FAKE_SAMPLE, SD3_GRID.values()), draws.noise(Purpose.FAKE_SAMPLE, (4, 2, 2))
        noisy, noisy_real = (network.denoiser.add_noise(x, noise, level) for x in (sample, pair.target))
        with network.adapters.use(FAKE):
            runs = [
                network.tap.output_and_features(lambda x=x: network.denoiser.clean(x, level, one))
                for x in (noisy_real, noisy)
            ]
    score = ((runs[1][0] - sample) ** 2).mean()
    real, generated = (head(features) for _, features in runs)
    expected = score + 0.3 * (F.softplus(-real) + F.softplus(generated)).mean()
    assert losses["total"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert all(parameter.grad is None for parameter in network.adapters.parameters(STUDENT))
    trained = [*network.adapters.parameters(FAKE), *head.parameters()]
    for parameter, gradient in zip(trained, torch.autograd.grad(expected, trained), strict=True):
        assert parameter.grad is not None and torch.allclose(parameter.grad, gradient, rtol=1e-4, atol=1e-7)
