"""Handwritten digits: a small trained network and real images to quantize and test it with.

`python -m furc.zoo.digits.train` made both files; images are UCI's optical digits, as scikit-learn ships them.
"""

from furc.zoo.digits.data import calibration_images, model, test_images, test_labels

__all__ = ["calibration_images", "model", "test_images", "test_labels"]
