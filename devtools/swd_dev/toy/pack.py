"""The pack's own sampler, schedules and LoRA loader. ComfyUI must be importable."""

from __future__ import annotations

from swd_dev.core import import_core

_sampler = import_core("host.sampler")
_schedules = import_core("host.schedules")

ScaleWiseSampler = _sampler.ScaleWiseSampler
schedule_from_text = _schedules.schedule_from_text
sigmas_tensor = _schedules.sigmas_tensor
load_lora = import_core("host.lora").load_lora
StageNoise = import_core("noise").StageNoise
resize = import_core("resize").resize
