"""Accuracy of models on labelled images: labels, heads of detectors, metrics, intervals."""
