"""The training nodes, end to end on a tiny model: dataset, LoRA, the file in three loaders, stops and faults."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import comfy.cli_args
import comfy.model_management
import comfy.sd
import comfy.utils
import folder_paths
import pytest
import torch
from distilling import FAMILY, PROMPTS, SCHEDULE, tensors_of
from reference import ItemNoise, Text, sample
from running import all_in_one, conditioning, empty_latent, relative_error, schedule_of
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from swd_dev.tiny.families import load_family
from swd_dev.tiny.loading import MODEL_FILES, load_model
from swd_dev.tiny.models import make_peft_model
from test_lora import latent_of

BAR = 2e-6


def test_a_dataset_that_was_cut_off_goes_on_and_is_the_same(make_teacher, output: Path) -> None:
    whole, report = make_teacher()
    assert "4 pictures of 2 prompts, latents at 4 x 4, 6 x 6, 8 x 8" in report
    root = output / "swd" / "datasets" / "pictures"
    files = {path.relative_to(root): path.read_bytes() for path in root.rglob("*.safetensors")}
    assert len(files) == 4 + 4 + 3
    for gone in ("pictures/000002.safetensors", "prompts/000001.safetensors"):
        (root / gone).unlink()
    for path in (root / "stages").rglob("00000[23].safetensors"):
        path.unlink()
    again, _ = make_teacher()
    assert again == whole and again.count == 4
    assert {path.relative_to(root): path.read_bytes() for path in root.rglob("*.safetensors")} == files
    assert not list(root.rglob("*.partial"))


def test_every_picture_is_the_one_that_ksampler_makes(make_teacher, load, clip, output: Path) -> None:
    import nodes as comfy_nodes

    make_teacher()
    prompts = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("a blue square above it", "")]
    expected = comfy_nodes.common_ksampler(
        load(FAMILY), 5 + 3, 2, 3.0, "euler", "simple", prompts[0], prompts[1], {"samples": torch.zeros(1, 16, 8, 8)}
    )[0]["samples"]
    made = tensors_of(output / "swd/datasets/pictures/pictures/000003.safetensors")["latent"]
    assert relative_error(made[None], expected) < 1e-6


def test_after_the_largest_seed_comes_0(make_teacher, output: Path) -> None:
    make_teacher(dataset_name="largest", first_seed=2**64 - 1, images_per_prompt=1)
    make_teacher(dataset_name="zero", first_seed=0, images_per_prompt=1, prompts=PROMPTS.splitlines()[2])
    pictures = output / "swd" / "datasets"
    assert torch.equal(
        tensors_of(pictures / "largest/pictures/000001.safetensors")["latent"],
        tensors_of(pictures / "zero/pictures/000000.safetensors")["latent"],
    )


def test_a_trained_lora_is_the_same_in_our_loader_in_diffusers_and_in_peft(swd, load, distill, output: Path) -> None:
    model = load(FAMILY)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    student, name, plot, report = distill(lora_name="trained")
    after = model.model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[key], value) for key, value in before.items())
    assert name == "trained/adapter_model.safetensors"
    assert plot.shape[0] == 1 and plot.shape[2:] == (960, 3) and plot.std() > 0.05
    assert "4 steps of 2 pictures" in report and "loaded 22 of 22 pairs, scale 1.0" in report
    folder_paths.filename_list_cache.clear()
    loaded, _ = swd["SWDLoraLoader"].execute(model=model, lora_name=name, strength_model=1.0).result

    text = Text(torch.randn(1, 12, 4096), torch.randn(1, 2048))
    latents = []
    for patched in (student, loaded, model):
        positive = conditioning(FAMILY, text)
        latents.append(all_in_one(swd, patched, positive, empty_latent(FAMILY, (8, 8)), 1, SCHEDULE)["samples"])
    folder = output / "loras" / "trained"
    for twin in (make_peft_model(FAMILY, folder), diffusers_student(folder)):
        with torch.inference_mode():
            theirs = sample(FAMILY, twin, text, (2, 3, 4), (1.0, 0.8, 0.6), (8, 8), ItemNoise(1, (0,)))
        assert relative_error(latents[0], theirs) < BAR
        assert relative_error(latents[1], theirs) < BAR
    assert relative_error(latents[2], theirs) > 1e-4


def diffusers_student(folder: Path) -> torch.nn.Module:
    """The LoRA through diffusers' own loader, which takes the names of PEFT without their prefix."""
    from swd_dev.tiny.models import make_model

    model = make_model(FAMILY)
    names = {
        key.removeprefix("base_model.model."): value
        for key, value in tensors_of(folder / "adapter_model.safetensors").items()
    }
    model.load_lora_adapter(names, prefix=None)
    assert sum("lora_A" in name for name, _ in model.named_parameters()) == 22
    return model


def test_auto_finds_the_schedule_in_the_file(swd, load, distill) -> None:
    student = distill()[0]
    schedule, sigmas = schedule_of(swd, student, "auto")
    assert schedule.scales == (2.0, 3.0, 4.0) and schedule.timesteps == (1.0, 0.8, 0.6)
    assert len(sigmas) == 4
    assert schedule_of(swd, load(FAMILY), "auto")[0].name == "SD3.5 Large, 4 steps"
    assert schedule_of(swd, student, "SD3.5 Large, 4 steps")[0].scales == (64, 80, 96, 128)
    folder_paths.filename_list_cache.clear()
    published, _ = (
        swd["SWDLoraLoader"]
        .execute(model=student, lora_name="swd-large-4-steps/adapter_model.safetensors", strength_model=1.0)
        .result
    )
    assert schedule_of(swd, published, "auto")[0].name == "SD3.5 Large, 4 steps"


STOPPED = "stopped: what is done is kept, and the next run goes on from there"


@pytest.fixture
def told(swd, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that the nodes of the training show."""
    lines: list[str] = []
    package = swd["SWDDistillLora"].__module__.rpartition(".nodes.")[0]
    progress = importlib.import_module(f"{package}.swd_core.host.distill.progress")
    monkeypatch.setattr(progress, "announce", lines.append)
    return lines


def test_an_interrupt_keeps_the_run_and_the_next_one_goes_on_as_if_nothing_had_happened(
    distill, output: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comfy.cli_args.args, "preview_method", comfy.cli_args.LatentPreviewMethod.Latent2RGB)
    everything = {"steps": 5, "dmd": True, "gan": True, "ema": 0.5, "preview_every": 1}
    distill(lora_name="whole", **everything)
    previews = []

    def press_the_button(value: int, total: int, preview: Any, node_id: str | None = None) -> None:
        if total == everything["steps"]:
            previews.append(preview)
            if value == 3:
                comfy.model_management.interrupt_current_processing()

    comfy.utils.set_progress_bar_global_hook(press_the_button)
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            distill(lora_name="parts", **everything)
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert told[-1] == STOPPED
    assert [kind for kind, _, _ in previews] == ["JPEG"] * 3
    assert previews[0][1].size == (8, 8)
    with safe_open(output / "swd/training/parts/checkpoint.safetensors", framework="pt") as file:
        assert file.metadata()["step"] == "3"
    assert (output / "loras/parts/adapter_model.safetensors").is_file()
    *_, report = distill(lora_name="parts", **everything)
    assert "went on from 3" in report
    whole, parts = (tensors_of(output / f"loras/{name}/adapter_model.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(torch.equal(parts[key], value) for key, value in whole.items())


def test_the_preview_shows_what_is_written_now_and_then_and_at_the_end(
    distill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An average of the student, where one is kept, is another picture than the student."""
    monkeypatch.setattr(comfy.cli_args.args, "preview_method", comfy.cli_args.LatentPreviewMethod.Latent2RGB)
    steps, previews = 5, []

    def look(value: int, total: int, preview: Any, node_id: str | None = None) -> None:
        if preview and total == steps:
            previews.append((value, preview[1].tobytes()))

    comfy.utils.set_progress_bar_global_hook(look)
    try:
        for ema in (0.0, 0.99):
            distill(lora_name=f"seen {ema}", steps=steps, ema=ema, preview_every=3, learning_rate=0.1)
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert [value for value, _ in previews] == [3, 5, 3, 5]
    student, average = previews[:2], previews[2:]
    assert all(a != b for a, b in zip(student, average, strict=True))


def test_an_interrupt_within_a_step_does_not_wait_for_its_end(
    make_teacher, distill, load, output: Path, told: list[str]
) -> None:
    # Its passes are not to be counted with those of the training.
    make_teacher()
    settings = {"steps": 2, "dmd": True, "batch_size": 8, "fake_steps": 2, "micro_batch": 1, "preview_every": 0}
    passes, last = 0, 0

    def press_the_button(*arguments: Any) -> None:
        nonlocal passes
        passes += 1
        if passes == last:
            comfy.model_management.interrupt_current_processing()

    model = load(FAMILY)
    handle = model.model.diffusion_model.register_forward_pre_hook(press_the_button)
    try:
        distill(model=model, lora_name="unbroken", **settings)
        last, passes = round(0.7 * passes), 0
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            distill(model=model, lora_name="broken", **settings)
    finally:
        handle.remove()
    assert told[-1] == STOPPED
    # At most those of one picture.
    assert last <= passes < last + 6
    with safe_open(output / "swd/training/broken/checkpoint.safetensors", framework="pt") as file:
        assert (file.metadata()["step"], file.metadata()["rounds"]) == ("1", "1")
    assert "went on from 1" in distill(lora_name="broken", **settings)[3]
    files = [output / f"loras/{name}/adapter_model.safetensors" for name in ("unbroken", "broken")]
    unbroken, broken = map(tensors_of, files)
    assert all(torch.equal(broken[key], value) for key, value in unbroken.items())


MAPS = Path("/proc/self/maps")


@pytest.mark.skipif(not MAPS.is_file(), reason="needs the list of mapped files that Linux keeps")
def test_no_file_that_a_later_run_replaces_stays_mapped(distill, output: Path) -> None:
    """Windows refuses to replace a file that is mapped."""
    kept = distill(lora_name="mapped", steps=2)[0]
    seen: list[str] = []

    def look(value: int, total: int, preview: Any, node_id: str | None = None) -> None:
        if total == 4:
            seen.extend(line for line in MAPS.read_text().splitlines() if str(output) in line)

    look(0, 4, None)
    comfy.utils.set_progress_bar_global_hook(look)
    try:
        assert "went on from 2" in distill(lora_name="mapped", steps=4)[3]
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert kept.patches and not seen


def test_start_over_forgets_the_run_of_that_name(distill) -> None:
    first = distill(lora_name="again", steps=2)[3]
    assert "went on" not in first
    assert "went on from 2" in distill(lora_name="again", steps=3)[3]
    assert "went on" not in distill(lora_name="again", steps=3, existing_run="start over")[3]
    with pytest.raises(ValueError, match="trained for longer"):
        distill(lora_name="again", steps=2)
    with pytest.raises(ValueError, match="belongs to another run"):
        distill(lora_name="again", steps=4, rank=8)


def test_a_start_over_that_is_refused_keeps_the_old_run(swd, load, distill) -> None:
    schedule = schedule_of(swd, load(FAMILY), SCHEDULE)[0]
    distill(lora_name="kept", steps=2)
    with pytest.raises(ValueError, match="SwD cannot train a LoRA for this model"):
        distill(lora_name="kept", existing_run="start over", model=load_family("auraflow"), schedule=schedule)
    assert "went on from 2" in distill(lora_name="kept", steps=3)[3]


def test_an_old_run_that_cannot_be_removed_is_not_continued(
    distill, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distill(lora_name="stuck", steps=2)
    before = (output / "loras/stuck/adapter_model.safetensors").read_bytes()

    def in_use(path: Any, *arguments: Any, **named: Any) -> None:
        raise PermissionError(13, "in use by another program", str(path))

    # The tests may run as root, who is allowed to delete whatever there is.
    with (
        monkeypatch.context() as patch,
        pytest.raises(ValueError, match="existing_run: the run stuck cannot be removed"),
    ):
        patch.setattr(os, "unlink", in_use)
        distill(lora_name="stuck", steps=3, existing_run="start over")
    assert (output / "loras/stuck/adapter_model.safetensors").read_bytes() == before


def test_a_lora_that_another_program_keeps_is_a_sentence_and_the_run_goes_on_later(
    distill, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows does not replace a file that is mapped."""
    distill(lora_name="in-use", steps=2)
    replace = os.replace

    def refuse(source: Any, target: Any) -> None:
        if Path(target).name == "adapter_model.safetensors":
            raise PermissionError(13, "Access is denied", str(target))
        replace(source, target)

    with (
        monkeypatch.context() as patch,
        pytest.raises(ValueError, match=r"^in-use: adapter_model.safetensors cannot be replaced.\nFound: .*denied"),
    ):
        patch.setattr(os, "replace", refuse)
        distill(lora_name="in-use", steps=4)
    assert not list((output / "loras/in-use").glob("*.partial"))
    assert "4 steps" in distill(lora_name="in-use", steps=4)[3]


def test_the_files_say_what_they_are(distill, output: Path) -> None:
    distill()
    folder = output / "loras" / "student"
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (4, 4, "LORA")
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["swd.scales"], metadata["swd.timesteps"]) == ("2, 3, 4", "1, 0.8, 0.6")
    assert metadata["modelspec.title"] == "student"


def test_a_model_loaded_by_a_node_can_be_trained(distill, tiny_models: Path, output: Path) -> None:
    with torch.inference_mode():
        model = load_model(FAMILY, tiny_models)
    assert "2 steps" in distill(model=model, lora_name="fresh", steps=2, existing_run="start over")[3]
    shutil.rmtree(output / "loras" / "fresh")


def scaled_to_eight_bits(path: Path) -> dict[str, torch.Tensor]:
    """The state dict of a checkpoint with its blocks in float8, in the form of the files called fp8_scaled."""
    state = load_file(path)
    for key in [key for key, value in state.items() if "joint_blocks" in key and value.ndim == 2]:
        scale = state[key].abs().max() / torch.finfo(torch.float8_e4m3fn).max
        state[key] = (state[key] / scale).to(torch.float8_e4m3fn)
        state[key.removesuffix("weight") + "scale_weight"] = scale
    marker = torch.zeros(2, dtype=torch.float8_e4m3fn)
    return {**state, "model.diffusion_model.scaled_fp8": marker}


@torch.inference_mode()
def test_quantised_weights_stay_usable(swd, load, distill, tiny_models: Path, output: Path) -> None:
    state = scaled_to_eight_bits(tiny_models / MODEL_FILES[FAMILY])
    save_file(state, output / "scaled.safetensors")
    model = comfy.sd.load_diffusion_model(str(output / "scaled.safetensors"))
    plain = latent_of(swd, model, FAMILY)
    assert 1e-3 < relative_error(plain, latent_of(swd, load(FAMILY), FAMILY)) < 0.1
    student = distill(model=model, lora_name="scaled", steps=2)[0]
    # ComfyUI patches the weights for one and puts them back for the other.
    assert relative_error(latent_of(swd, student, FAMILY), plain) > 0.01
    assert relative_error(latent_of(swd, model, FAMILY), plain) < 1e-6
