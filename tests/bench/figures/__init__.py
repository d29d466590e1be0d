"""One figure a file: `measure(setting)` yields its rows."""
