"""Scale-wise distillation sampling (SwD, arXiv 2503.16397) in plain torch.

Only `swd_core.host` knows ComfyUI; everything else runs wherever torch runs.
"""
