"""A small world of our own: pictures, captions, autoencoder, teacher and their evaluation.

The published SwD weights cannot be had where the pack is tested. This world is small enough to train on two CPU cores,
and its files go through the same ComfyUI loaders as the real ones.
"""
