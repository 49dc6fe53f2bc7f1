# SPDX-License-Identifier: AGPL-3.0-or-later
"""Write rendered parts as a COCO set to train on. Seeds of training, validation and test sets never overlap.

`python -m training.rendered --out DIR --pictures N --seed S [--dense]`
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np

from inspection.twin.defects import DefectKind
from inspection.twin.renderer import SIZE_RANGE_PX, PartRenderer
from inspection.twin.stamp import STRIP_HEIGHT_PX

PICTURES_PER_SEED = 100
TRAIN_SEEDS = range(1_000_000, 2_000_000)
CHOICE_SEEDS = range(2_000_000, 3_000_000)  # thresholds are chosen here
TEST_SEEDS = range(3_000_000, 4_000_000)  # figures in a card come from here
TEACHABLE = 5.0
"""Detectability under which a defect is not taught: below Rose's criterion a label is only noise."""
SMALL_RANGE_PX = (4.0, 14.0)
CROWD = (6, 12)  # defects on a dense picture


def write_rendered(
    folder: Path,
    *,
    first_seed: int,
    pictures: int,
    dense: bool = True,
    views: int = 4,
) -> Path:
    """Draw `pictures` detector views into `folder` and return its COCO file.

    Each `PICTURES_PER_SEED` have a renderer of their own (texture, light). `dense` is for teaching: three
    pictures in four carry many defects, and every third seed only small ones (one defect a picture taught
    almost nothing in the same time). Pictures with a defect below `TEACHABLE` are left out. Complete already:
    nothing is drawn.
    """
    target = folder / "coco.json"
    if target.is_file():
        return target
    (folder / "images").mkdir(parents=True, exist_ok=True)
    kinds = [kind.value for kind in DefectKind]
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    seed = first_seed
    while len(images) < pictures:
        renderer = PartRenderer(
            seed=seed,
            views=views,
            defective_share=0.75 if dense else 0.5,
            size_range_px=SMALL_RANGE_PX if dense and (seed - first_seed) % 3 == 2 else SIZE_RANGE_PX,
            crowd=CROWD if dense else None,
        )
        choice = np.random.default_rng((seed, 99))
        drawn, part_no = 0, 0
        while drawn < PICTURES_PER_SEED and len(images) < pictures:
            truth = renderer.truth(part_no)
            if truth.defects:
                view = truth.defects[0].view
            else:  # the demo's two faces matter most
                view = int(choice.choice(views, p=[0.35, 0.35, 0.15, 0.15] if views == 4 else None))
            found = [defect for defect in truth.defects if defect.view == view]
            if all(defect.detectability >= TEACHABLE for defect in found):
                picture = renderer.render(part_no, view)[:-STRIP_HEIGHT_PX]
                name = f"{seed}-{part_no}-{view}.png"
                cv2.imwrite(str(folder / "images" / name), picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
                image_id = len(images) + 1
                images.append(
                    {
                        "id": image_id,
                        "file_name": name,
                        "width": picture.shape[1],
                        "height": picture.shape[0],
                        "image_class": "defective" if found else "good",
                        "part": f"{seed}-{part_no}",
                    }
                )
                for defect in found:
                    box = defect.box
                    annotations.append(
                        {
                            "id": len(annotations) + 1,
                            "image_id": image_id,
                            "category_id": kinds.index(defect.kind) + 1,
                            "bbox": [box.x0_px, box.y0_px, box.width_px, box.height_px],
                            "area": box.width_px * box.height_px,
                            "iscrowd": 0,
                            "detectability": round(defect.detectability, 2),
                        }
                    )
                drawn += 1
            part_no += 7  # strides over lots, so that all of a seed's textures come up
        seed += 1
    document = {
        "info": {"description": f"rendered parts, seeds {first_seed}..{seed - 1}"},
        "categories": [{"id": index + 1, "name": kind} for index, kind in enumerate(kinds)],
        "images": images,
        "annotations": annotations,
    }
    target.with_suffix(".tmp").write_text(json.dumps(document))
    target.with_suffix(".tmp").rename(target)  # last, so that a killed run is not taken for a complete one
    return target


def main(argv: list[str] | None = None) -> int:
    """Write one rendered set; print its path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=TRAIN_SEEDS.start)
    parser.add_argument("--dense", action="store_true", help="many defects a picture, for teaching")
    given = parser.parse_args(argv)
    target = write_rendered(given.out, first_seed=given.seed, pictures=given.pictures, dense=given.dense)
    sys.stdout.write(f"{target}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
