"""The template workflows and blueprints, written from tables: `python -m swd_dev.templates`.

`workflows/` and `subgraphs/` hold the result; run this again when a node, a preset or a model link changes.
"""
