# SPDX-License-Identifier: AGPL-3.0-or-later
"""Named, versioned augmentation policies. A card names one; none ever changes, it gets a new version."""

from __future__ import annotations

from typing import Any


def policy(name: str) -> list[Any]:
    """Return the albumentations transforms of a policy. Raises KeyError for an unknown name.

    `fixed_camera@1`: quarter turns and small changes of light and noise. No scaling, shifting or JPEG: the
    camera does
    not move, a resampled 4 px defect is another defect, and a station never sees JPEG before inference.
    `binary_board@1`: quarter turns only, for line-scan pictures that are already binary.
    """
    import albumentations as A  # noqa: N812 - the library's own convention; heavy, so imported when asked for

    policies: dict[str, list[Any]] = {
        "fixed_camera@1": [
            A.RandomRotate90(p=0.75),
            A.RandomBrightnessContrast(brightness_limit=0.10, contrast_limit=0.12, p=0.5),
            A.GaussNoise(std_range=(0.002, 0.008), p=0.2),
        ],
        "binary_board@1": [A.RandomRotate90(p=0.75)],
    }
    return policies[name]
