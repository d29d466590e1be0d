"""Speed and memory of the pack as ratios: `python dev.py bench`. A figure a file in `figures`."""
