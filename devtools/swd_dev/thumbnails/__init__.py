"""Thumbnails of the templates, drawn by code: a lake that grows from coarse to fine, and a symbol for each feature."""
