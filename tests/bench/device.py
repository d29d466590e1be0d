"""The only calls that differ between a GPU and a CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        return f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    return f"CPU, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"


def busy_seconds(device: torch.device, job: Callable[[], object]) -> float:
    """Seconds in which a GPU computes during a job, from the times of its kernels."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities, acc_events=True) as profile:
        job()
        synchronize(device)
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e6


def peak_bytes(device: torch.device, job: Callable[[], object]) -> int:
    """The most bytes that torch held at once for a job, over what it held before."""
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        job()
        synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    return _peak_of_cpu(job)


def _peak_of_cpu(job: Callable[[], object]) -> int:
    """By the allocator's own events, in their order: the size of a process tells less, as it keeps freed pages."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True, acc_events=True) as profile:
        job()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
