# SPDX-License-Identifier: AGPL-3.0-or-later
"""The inspector process: builds engine, pairing and rings from the configuration, then runs the loop.

Exit codes: 0 asked to stop, 3 configuration or bundle refused, 5 the engine hangs or only fails.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import cv2

from cameras.pfnc import code_of, format_of
from cameras.ring import Ring, SlotState
from inspection.board import ProcessState
from inspection.child import ChildContext, run_child
from inspection.config import StationConfig
from inspection.detectors.base import Detector, DetectorInfo
from inspection.engines import Loaded
from inspection.inspecting import EXIT_ENGINE, NS_PER_MS, Inspector
from inspection.judging import Judging
from inspection.messages import SlotsLeft, UseBundle
from inspection.pairing import Pairer
from inspection.pins import bundle_path, manifest_sha256
from inspection.prepare import takes_reference
from inspection.recipe import Recipe
from inspection.scheduler import ServiceTimes
from inspection.shadow_feed import ShadowFeed
from inspection.slots import CameraSlots, Keeper
from inspection.swapping import Swapping
from inspection.types import PartFault, StationFault
from weights.bundle import TRUSTED_HERE, Bundle, load_bundle
from weights.signing import station_key

_ANSWER_MARGIN_NS = 30 * NS_PER_MS  # a part is given up so long before its deadline, so that the gate hears why
_AFTER_ENGINE_NS = 10 * NS_PER_MS  # rules, link, journal sync and registers, taken off the engine's time
_MAX_PARTS = 16  # on record; at most 7 can be in flight by the line contract
_EARLY_PER_VIEW = 8
_SWITCH_S = 0.001  # the engine's callback thread must not wait 5 ms (Python's default) for the interpreter


def build_detector(config: StationConfig, path: Path) -> Detector:
    """The configured engine with the bundle at `path` checked and loaded; StationFault with one sentence else.

    Only the configured runtime is imported: the others cost memory and threads.
    """
    engine = config.engine
    if engine.kind == "scripted":
        from inspection.detectors.scripted import Script, ScriptedDetector, load_script  # noqa: PLC0415

        return ScriptedDetector(load_script(engine.script) if engine.script else Script())
    trusted = [*(config.station.trusted or [TRUSTED_HERE]), config.key_dir]
    bundle = load_bundle(path, trusted)
    _check_reference(bundle, views=len(config.camera))
    if engine.kind == "onnx":
        from inspection.detectors.onnx import OnnxDetector  # noqa: PLC0415

        return OnnxDetector(bundle, threads=engine.threads, max_batch=engine.max_batch)
    from inspection.detectors.openvino import OpenVinoDetector  # noqa: PLC0415

    formats = [format_of(code_of(camera.pixel_format)) for camera in config.camera]
    grey = not any(form.mosaic or form.channels > 1 for form in formats)
    return OpenVinoDetector(bundle, threads=engine.threads, grey=grey)


def _check_reference(bundle: Bundle, *, views: int) -> None:
    """A model that compares must bring what it compares with; StationFault where it cannot.

    Pictures of a data set may each have a template of their own; on a line there is one golden picture.
    """
    if not takes_reference(bundle.card.prepare):
        return
    if bundle.reference is None:
        raise StationFault(
            f"{bundle.path} compares with a reference and holds none: every part would be NOT_INSPECTED;"
            " make the bundle with one (`gatesight template --reference PICTURE`)."
        )
    if views > 1:
        raise StationFault(
            f"{bundle.path} holds the reference picture of one view and this station has {views} cameras: "
            "use one camera, or a model that does not compare."
        )


def build_judging(config: StationConfig, recipe: Recipe, *, max_batch: int, times: ServiceTimes) -> Judging:
    """Pairing and rules for this line. A part's pictures may come until shortly before its deadline."""
    line, views = config.line, len(config.camera)
    wait_ns = max(line.deadline_ns - _ANSWER_MARGIN_NS, line.deadline_ns // 2)
    pairer = Pairer(
        views=views,
        window=line.pair_window,
        frame_wait_ns=wait_ns,
        part_wait_ns=wait_ns,
        max_parts=_MAX_PARTS,
        max_early=_EARLY_PER_VIEW * views,
    )
    return Judging(pairer=pairer, recipe=recipe, times=times, max_batch=max_batch)


def fire_limit_ns(config: StationConfig) -> int:
    """How long after its trigger a part may still be photographed: half the minimum pitch at the highest speed.

    It is the pairing window of the line contract, in time: the station cannot latch an encoder when it fires.
    """
    return config.line.half_pitch_ns


def check_recipe(config: StationConfig, recipe: Recipe, info: DetectorInfo) -> None:
    """StationFault when recipe, cameras and model do not fit each other: what is not looked for must be said.

    A limit below the model's floor promises findings that never come; a class that the model does not have is a
    misspelling or another product; a class without any rule would be judged by a limit that nobody chose.
    """
    path = config.station.recipe
    if len(recipe.views) != len(config.camera):
        raise StationFault(
            f"{path} names {len(recipe.views)} views and the station has"
            f" {len(config.camera)} cameras: list one [[camera]] for each view, in the same order."
        )
    unknown = sorted(set(recipe.classes) - set(info.classes))
    if unknown:
        raise StationFault(
            f"{path} limits the class {unknown[0]!r}, which the bundle {info.name} does not know (it knows"
            f" {', '.join(info.classes)}): correct the name, or remove the limit."
        )
    unruled = [name for name in info.classes if name not in recipe.classes]
    if unruled and recipe.default_limit is None:
        raise StationFault(
            f"{path} has no rule for the class {unruled[0]!r}, which the bundle {info.name} reports: give it a"
            ' limit in classes ({"ignore": true} when it does not matter), or write a default_limit.'
        )
    limits = recipe.classes | ({"default_limit": recipe.default_limit} if recipe.default_limit else {})
    for name, limit in limits.items():
        if not limit.ignore and limit.min_score < info.floor_score:
            raise StationFault(
                f"{path} limits {name!r} at min_score {limit.min_score:g}, but the bundle {info.name} reports"
                f" nothing below its floor_score {info.floor_score:g}: raise min_score, or use another bundle."
            )


def shadow_feed(context: ChildContext, cameras: list[CameraSlots]) -> ShadowFeed | None:
    """Where copies for the shadow go; None for an inspector that was started without one."""
    if "shadow" not in context.links:
        return None
    config = context.config
    return ShadowFeed(
        cameras=cameras,
        rings=[Ring.attach(config.shadow_ring_path(c.serial)) for c in config.camera],
        link=context.links["shadow"],
        shadow=context.board.row("shadow"),
    )


def load_another(config: StationConfig, recipe: Recipe, order: UseBundle) -> Loaded:
    """The bundle of an order, ready to judge; StationFault when it is another, does not fit or does not run."""
    detector = build_detector(config, bundle_path(config, order.bundle_sha256))
    try:
        found = detector.info.bundle_sha256
        if config.engine.kind != "scripted" and found != order.bundle_sha256:
            raise StationFault(f"The registry's copy of bundle {order.bundle_sha256[:12]} is {found[:12]}.")
        check_recipe(config, recipe, detector.info)
        return Loaded(detector=detector, view_ns=detector.warm_up())
    except (StationFault, PartFault):
        detector.close()
        raise


def body(context: ChildContext) -> int:
    """Build everything, run, release."""
    config = context.config
    for name in ("gate", *(f"camera{i}" for i in range(len(config.camera)))):
        if name not in context.links:
            raise StationFault(
                f"The inspector was started without its link {name!r}: start it through the station."
            )
    station_key(config.key_dir)
    cv2.setNumThreads(1)  # a letterbox is too small to share out, and the cores are the engine's
    recipe = context.recipe()
    path = context.bundle_path()
    detector = build_detector(config, path)
    scripted = config.engine.kind == "scripted"  # its findings come from elsewhere; the bundle is only named
    context.check_bundle(manifest_sha256(path) if scripted else detector.info.bundle_sha256)
    check_recipe(config, recipe, detector.info)
    times = ServiceTimes(margin_ns=_AFTER_ENGINE_NS)
    times.observe(1, detector.warm_up())
    cameras = [
        CameraSlots(i, camera, Ring.attach(config.ring_path(camera.serial)))
        for i, camera in enumerate(config.camera)
    ]
    if "recorder" in context.links:
        for i, camera in enumerate(cameras):
            if left := camera.ring.found(SlotState.ARCHIVE):  # before the first slot that we hand over
                context.tell("recorder", SlotsLeft(camera=i, slots=left))
    info = detector.info
    swapping = Swapping(
        load=lambda order: load_another(config, recipe, order),
        gate=context.links["gate"],
        supervisor=context.links.get("supervisor"),
        recipe_sha256=recipe.sha256,
    )
    swapping.offer(info.bundle_sha256)  # before the gate may see us ready
    inspector = Inspector(
        links=context.links,
        cameras=cameras,
        detector=detector,
        judging=build_judging(config, recipe, max_batch=info.max_batch, times=times),
        keeper=Keeper(cameras, context.links.get("recorder"), config.records.pass_share),
        recipe_sha256=recipe.sha256,
        row=context.row,
        hang_ns=int(config.engine.hang_ms * NS_PER_MS),
        fires=[context.links[f"camera{i}"] for i, c in enumerate(config.camera) if c.trigger == "software"],
        fire_limit_ns=fire_limit_ns(config),
        swapping=swapping,
        shadow=shadow_feed(context, cameras),
        margin_ns=_AFTER_ENGINE_NS,
        deadline_ns=config.line.deadline_ns,
    )
    gc.collect()
    gc.freeze()  # what lives now lives for ever: no collection walks it again
    context.row.report(ProcessState.READY, f"{info.runtime} {info.bundle_sha256[:12]}")
    code = inspector.run(context.stop)
    if code == 0:
        inspector.close()
    return code


def main(argv: list[str] | None = None) -> int:
    """Process entry; see inspection.child."""
    sys.setswitchinterval(_SWITCH_S)
    return run_child("inspector", body, argv)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    if status == EXIT_ENGINE:
        os._exit(status)  # a hung engine's threads would keep a normal exit waiting for ever
    sys.exit(status)
