"""Data that goes into models: arrays, images, inputs of a run, calibration samples."""
