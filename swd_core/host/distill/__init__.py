"""Distillation on ComfyUI's models."""
