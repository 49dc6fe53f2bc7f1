# SPDX-License-Identifier: AGPL-3.0-or-later
"""Let `import torchvision` succeed beside a CPU torch, where its CUDA-built C++ extension cannot load.

`install()` puts a finder on `sys.meta_path`; nothing heavier happens until somebody imports torchvision, and
nothing
at all is changed where torchvision's own extension loads. Only `nms` is defined: it is the one operator that
ultralytics needs in training and validation.
"""

from __future__ import annotations

import importlib.machinery
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_EXTENSION = "torchvision.extension"
_libraries: list[Any] = []  # torch.library.Library objects undo their definitions when they are collected


def greedy_nms(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Return indices of the boxes (N, 4) that greedy non-maximum suppression keeps, best score first."""
    order = np.argsort(-scores, kind="stable")
    x0, y0, x1, y1 = boxes.astype(np.float64).T
    area = (x1 - x0) * (y1 - y0)
    keep: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        keep.append(int(best))
        width = np.clip(np.minimum(x1[best], x1[rest]) - np.maximum(x0[best], x0[rest]), 0, None)
        height = np.clip(np.minimum(y1[best], y1[rest]) - np.maximum(y0[best], y0[rest]), 0, None)
        shared = width * height
        union = area[best] + area[rest] - shared
        iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        order = rest[iou <= iou_threshold]
    return np.asarray(keep, dtype=np.int64)


def _define_operators() -> None:
    import torch

    def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
        kept = greedy_nms(boxes.detach().float().numpy(), scores.detach().float().numpy(), iou_threshold)
        return torch.as_tensor(kept)

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):  # torchvision registers fakes for these two unconditionally
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", nms, "CPU")
    _libraries.append(library)


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)  # tries the native library
        if not module._has_ops():
            _define_operators()
            setattr(module, "_assert_has_ops", lambda: None)  # noqa: B010 - ops.nms asserts it; a module has no such attribute to a type checker


class _Finder:
    @staticmethod
    def find_spec(
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,  # noqa: ARG004 - importlib's signature
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _EXTENSION:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            spec.loader = _Loader(name, spec.origin)
        return spec


def install() -> None:
    """Put the finder in place; call before anything imports torchvision. Calling twice does nothing."""
    if _Finder not in sys.meta_path and "torchvision" not in sys.modules:
        sys.meta_path.insert(0, _Finder)
