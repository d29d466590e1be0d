"""Training of SwD LoRAs from the command line, in one process or in several."""
