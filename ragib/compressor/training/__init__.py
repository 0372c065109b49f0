"""Training the evidence model: data, silver labels, warm start, bottleneck, calibration."""
