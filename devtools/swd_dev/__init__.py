"""The development host: builds a pinned ComfyUI, runs it with this pack, and talks to it. Never shipped."""
