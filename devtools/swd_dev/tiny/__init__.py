"""Tiny models with the shapes and key names of the real ones, made from a seed.

They stand in for SD3.5 Medium and Large, FLUX.1-dev and SDXL in tests and in the demo: ComfyUI loads them with its own
loaders, and diffusers and PEFT run the same weights as the reference to compare with.
"""
