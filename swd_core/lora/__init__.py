"""LoRA files: reading them, naming their layers, and the scale that belongs to them."""
