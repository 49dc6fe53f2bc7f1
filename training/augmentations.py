# SPDX-License-Identifier: AGPL-3.0-or-later
"""Named, versioned augmentation policies. A card names one; none ever changes, it gets a new version.

`fixed_camera@1`: quarter turns, flips and small changes of light and noise. No scaling, shifting or JPEG: the
camera does not move, a resampled 4 px defect is another defect, and a station never sees JPEG before inference.
`binary_board@1`: quarter turns and flips only, for line-scan pictures that are already binary.
`surface@1`: for textures without an up (rolled steel, tiles): quarter turns, flips, more light, blur and noise,
and small shifts, turns and changes of scale.
`fixed_pose@1`: for parts that always lie alike: small changes of light and noise, and a few pixels' shift.
`none@1`: nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inspection.types import StationFault


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What happens to a training picture: albumentations' transforms in order, then flips by chance."""

    name: str
    transforms: list[Any]
    flip_lr: float
    flip_ud: float

    @property
    def sha256(self) -> str:
        """Hash of everything that decides what it does."""
        import albumentations as A  # noqa: N812 - the library's own convention

        described = [A.to_dict(transform)["transform"] for transform in self.transforms]
        content = {"transforms": described, "flip_lr": self.flip_lr, "flip_ud": self.flip_ud}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _fixed_camera_1(a: Any) -> Policy:
    return Policy(
        name="fixed_camera@1",
        transforms=[
            a.RandomRotate90(p=0.75),
            a.RandomBrightnessContrast(brightness_limit=0.10, contrast_limit=0.12, p=0.5),
            a.GaussNoise(std_range=(0.002, 0.008), p=0.2),
        ],
        flip_lr=0.5,
        flip_ud=0.5,
    )


def _binary_board_1(a: Any) -> Policy:
    return Policy(name="binary_board@1", transforms=[a.RandomRotate90(p=0.75)], flip_lr=0.5, flip_ud=0.5)


def _surface_1(a: Any) -> Policy:
    return Policy(
        name="surface@1",
        transforms=[
            a.RandomRotate90(p=0.75),
            # padded grey as a letterbox is: a mirrored border would double outlines
            a.Affine(scale=(0.85, 1.2), translate_percent=(-0.08, 0.08), rotate=(-8, 8), fill=114, p=0.5),
            a.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.2, p=0.6),
            a.RandomGamma(gamma_limit=(80, 125), p=0.3),
            a.GaussianBlur(blur_limit=(3, 3), p=0.1),
            a.GaussNoise(std_range=(0.005, 0.02), p=0.2),
        ],
        flip_lr=0.5,
        flip_ud=0.5,
    )


def _fixed_pose_1(a: Any) -> Policy:
    return Policy(
        name="fixed_pose@1",
        transforms=[
            a.Affine(translate_percent=(-0.02, 0.02), rotate=(-2, 2), fill=114, p=0.5),
            a.RandomBrightnessContrast(brightness_limit=0.10, contrast_limit=0.12, p=0.5),
            a.GaussNoise(std_range=(0.002, 0.008), p=0.2),
        ],
        flip_lr=0.0,
        flip_ud=0.0,
    )


def _none_1(_: Any) -> Policy:
    return Policy(name="none@1", transforms=[], flip_lr=0.0, flip_ud=0.0)


_POLICIES: dict[str, Callable[[Any], Policy]] = {
    "fixed_camera@1": _fixed_camera_1,
    "binary_board@1": _binary_board_1,
    "surface@1": _surface_1,
    "fixed_pose@1": _fixed_pose_1,
    "none@1": _none_1,
}


def policy_names() -> list[str]:
    """All policies that there are."""
    return sorted(_POLICIES)


def policy(name: str) -> Policy:
    """Return a policy by its name and version. Raises StationFault for an unknown one."""
    made = _POLICIES.get(name)
    if made is None:
        raise StationFault(f"no augmentation policy {name!r}; choose one of {', '.join(policy_names())}")
    import albumentations as A  # noqa: N812 - heavy, so imported when asked for

    return made(A)
