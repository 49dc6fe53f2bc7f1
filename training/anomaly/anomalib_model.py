# SPDX-License-Identifier: AGPL-3.0-or-later
"""anomalib's models behind our own protocol: good pictures in, maps of raw distances out, one ONNX graph.

Only the network and its map are taken over. anomalib's resizing, its normalisation of scores (which clamps, and
so can flip a verdict) and its threshold stay outside: preparation, limit and score are ours, so that a bundle
made this way is judged, evaluated and promoted like every other. `gatesight[anomalib]` installs it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inspection.types import StationFault
from training.anomaly.backbone import MEAN_RGB, SPREAD_RGB
from training.anomaly.features import INPUT_NAME
from training.anomaly.graph import OUTPUT_NAME
from training.anomaly.taught import SHARPNESS
from training.anomaly.writing import OPSET
from training.environment import prepare

STRIDE_PX = 4  # of the map: anomalib draws it at the size of the picture, from features of stride 4 to 16
BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which model, with which arguments of anomalib's own; weights: of its backbone, None for none."""

    model: str
    options: Mapping[str, Any]
    weights: Path | None
    width_px: int
    height_px: int
    seed: int
    threads: int


def anomalib_version(threads: int) -> str:
    """The version that is installed. StationFault where none is."""
    prepare(threads=threads)
    try:
        with _quietly():
            import anomalib  # pyright: ignore[reportMissingImports] - an extra
    except ImportError as e:
        raise StationFault(
            f"--anomalib needs anomalib ({e.name} is missing): install gatesight[anomalib]."
        ) from None
    return str(anomalib.__version__)


class Fitted:
    """One fitted model; distances are raw, the larger the stranger, of any unit and sign."""

    def __init__(self, asked: Asked, pictures: Sequence[np.ndarray]) -> None:
        """Fit on `pictures`, uint8 (height, width, 3) RGB as the network sees them."""
        import torch

        self._asked = asked
        torch.set_num_threads(asked.threads)
        with _quietly():
            from lightning.pytorch import seed_everything  # pyright: ignore[reportMissingImports] - an extra

            seed_everything(asked.seed)
            module = _module(asked)
            _fit(module, pictures, asked)
        self._network = module.model.eval()

    def map_of(self, pixels: np.ndarray) -> np.ndarray:
        """(lines, columns) float32 of one picture."""
        import torch

        planes = torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        with torch.no_grad(), _quietly():
            return _distances(self._network, planes)[0, 0].numpy()

    def export(self, target: Path, *, low: float, limit: float) -> bytes:
        """The graph whose score is 0.5 where the raw distance is `limit` above `low`, and 0 from `low` down."""
        import torch

        network = self._network

        class Scored(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = network

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                ratio = torch.relu(_distances(self.network, images) - low) / limit
                ratio = ratio**SHARPNESS
                return ratio / (ratio + 1)

        sample = torch.zeros(1, 3, self._asked.height_px, self._asked.width_px)
        with torch.no_grad(), _quietly():
            try:
                torch.onnx.export(
                    Scored().eval(),
                    (sample,),
                    str(target),
                    input_names=[INPUT_NAME],
                    output_names=[OUTPUT_NAME],
                    opset_version=OPSET,
                    dynamo=False,
                )
            except (RuntimeError, ValueError, TypeError, NotImplementedError) as e:
                raise StationFault(
                    f"anomalib's {self._asked.model} cannot be written as ONNX ({_line(e)}): choose another."
                ) from None
        return target.read_bytes()


def _distances(network: Any, images: Any) -> Any:
    """Raw map on our grid of images (N, 3, h, w) in 0..1; (N, 1, h / 4, w / 4)."""
    import torch

    mean, spread = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (MEAN_RGB, SPREAD_RGB))
    drawn = network((images - mean) / spread).anomaly_map
    drawn = drawn.reshape(drawn.shape[0], 1, *drawn.shape[-2:])
    return torch.nn.functional.avg_pool2d(drawn, STRIDE_PX)


def _module(asked: Asked) -> Any:
    """The model, with our sizes, nothing around it, and the weights that were brought."""
    from anomalib.models import get_model  # pyright: ignore[reportMissingImports] - an extra
    from anomalib.models.components.base import AnomalibModule  # pyright: ignore[reportMissingImports] - an extra
    from anomalib.pre_processing import PreProcessor  # pyright: ignore[reportMissingImports] - an extra
    from torchvision.transforms.v2 import Normalize

    options = {name: value for name, value in asked.options.items() if name != "max_epochs"}
    if asked.weights is not None:
        options.setdefault("pre_trained", False)
    centred = PreProcessor(transform=Normalize(list(MEAN_RGB), list(SPREAD_RGB)))
    try:
        module = get_model(
            asked.model,
            pre_processor=centred,
            post_processor=False,
            evaluator=False,
            visualizer=False,
            **options,
        )
    except OSError as e:  # urllib's and the hub's errors are such
        raise StationFault(
            f"anomalib's {asked.model} wants weights from a network ({_line(e)}): bring them with"
            " --backbone FILE, or give --option pre_trained=false where it has that."
        ) from None
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, ImportError) as e:
        raise StationFault(f"anomalib's {asked.model} with {options} cannot be made: {_line(e)}.") from None
    if not isinstance(module, AnomalibModule):
        raise StationFault(f"anomalib's {asked.model} is no model of pictures: choose another.")
    if asked.weights is not None:
        _fill(module, asked.weights)
    return module


def _fill(module: Any, weights: Path) -> None:
    """Load the backbone's tensors into the first feature extractor; all that it has must be there."""
    from training.anomaly.torchvision_backbone import COUNTERS, read_weights

    given = read_weights(weights)
    extractor = next(
        (m for name, m in module.model.named_modules() if type(m).__name__ == "FeatureListNet" and name), None
    )
    if extractor is None:
        raise StationFault("This model of anomalib's has no backbone that takes weights: leave out --backbone.")
    wanted = extractor.state_dict()
    lacking = next(
        (
            n
            for n, t in wanted.items()
            if not n.endswith(COUNTERS) and (n not in given or given[n].shape != t.shape)
        ),
        None,
    )
    if lacking is not None:
        raise StationFault(
            f"{weights} holds no tensor {lacking!r} of the right shape: these are not its backbone's weights;"
            " name the backbone with --option backbone=NAME."
        )
    extractor.load_state_dict({n: given[n] for n in wanted if n in given}, strict=False)


def _fit(module: Any, pictures: Sequence[np.ndarray], asked: Asked) -> None:
    import torch
    from anomalib.data import ImageBatch, ImageItem  # pyright: ignore[reportMissingImports] - an extra
    from anomalib.engine import Engine  # pyright: ignore[reportMissingImports] - an extra

    items = [
        ImageItem(
            image=torch.from_numpy(p.transpose(2, 0, 1).astype(np.float32) / 255), gt_label=torch.tensor(0)
        )
        for p in pictures
    ]
    order = torch.Generator().manual_seed(asked.seed)
    loader: Any = torch.utils.data.DataLoader(
        items,  # type: ignore[arg-type]
        batch_size=min(BATCH, len(items)),
        shuffle=True,
        generator=order,
        collate_fn=ImageBatch.collate,
    )
    more = {"max_epochs": int(asked.options["max_epochs"])} if "max_epochs" in asked.options else {}
    with tempfile.TemporaryDirectory(prefix="gatesight-anomalib-") as folder:
        engine = Engine(
            accelerator="cpu",
            devices=1,
            default_root_dir=folder,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            deterministic="warn",
            **more,
        )
        try:
            engine.fit(module, train_dataloaders=loader)
        except OSError as e:
            raise StationFault(f"anomalib's {asked.model} wants data from a network ({_line(e)}).") from None
        except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError) as e:
            raise StationFault(
                f"anomalib's {asked.model} does not fit on good pictures alone: {_line(e)}."
            ) from None
    if getattr(_answer(module, asked), "anomaly_map", None) is None:
        raise StationFault(f"anomalib's {asked.model} draws no map: choose a model that says where.")


def _answer(module: Any, asked: Asked) -> Any:
    """What the model says of an empty picture; None where it cannot be asked outside anomalib."""
    import torch

    try:
        with torch.no_grad():
            return module.model.eval()(torch.zeros(1, 3, asked.height_px, asked.width_px))
    except (RuntimeError, ValueError, TypeError, AttributeError):
        return None


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Lightning's and anomalib's remarks are not for whoever teaches a part."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "anomalib", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
