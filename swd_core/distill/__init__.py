"""Training of SwD LoRAs in plain torch: any network that predicts a velocity or noise and has blocks to look into."""
