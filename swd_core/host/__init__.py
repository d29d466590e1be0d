"""The only part of the core that knows ComfyUI. Supported: 0.16.3 and newer."""
