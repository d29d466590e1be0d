"""The template workflows, written from tables: `python -m swd_dev.templates`.

`workflows/` holds the result; run this again when a node, a preset or a model link changes.
"""
