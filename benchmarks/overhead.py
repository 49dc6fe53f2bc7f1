# SPDX-License-Identifier: AGPL-3.0-or-later
"""What our pipeline costs beside the bare engine: `python -m benchmarks.overhead --json FILE`.

1. bare: OpenVINO's own asynchronous loop (AsyncInferQueue). Its inputs lie ready in memory, in the network's
   size and type, and are handed over by reference: nothing is copied, resized, decoded or judged. The callback
   reads the shape of the rows.
2. full: the real inspector process. A slot of a real ring is ready; the trigger and the picture arrive as
   messages over real links; they are paired by encoder count, the lease is checked, the picture is copied into
   a request's input, inferred, its rows are checked and decoded, the rules judge, the verdict is encoded and
   sent, the slot goes back. `ratio` is the median of full/bare over pairs of rounds of the same run.
3. null: the inspector with an engine that does nothing, 640x640: CPU microseconds a picture, slot to verdict.
4. split: one more round of the full pipeline with a stopwatch around each stage (benchmarks/split.py).

Both sides of the ratio run the same model, compiled with the same settings (threads, streams, precision, uint8
input converted inside the graph), on the same pictures, with the same number of requests in flight. The
pictures are noise, in which the shipped network finds two to four faint things each: more to decode than a good
part has. Acquisition, journal and registers belong to other processes and are measured elsewhere. A feeder
plays cameras and gate for the inspector, on the same cores and at the same time, so `full_fps` pays for it;
`feeder_cpu_us` says how much. It looks for verdicts every 10 ms, as often as keeps the ring from running dry: a
wake-up for each would measure the feeder.

Rounds alternate because a shared box changes from second to second; a ratio of neighbours cancels that. Where
other work competes for the cores even that is rough: `cpu_ratio`, CPU time a picture of the bare loop over that
of the whole inspector, depends on it least.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from benchmarks.feed import Feeder, fed_inspector, write_station
from benchmarks.nets import bundle_to_measure, keys_of
from inspection.detectors.openvino import compile_for_cpu, in_flight
from weights.bundle import Bundle

RATIO_TARGET = 0.95
CPU_TARGET_US = 100.0
_SLOTS = 8
_NULL_SLOTS = 8
_FEEDER_PAUSE_S = 0.01
_NULL_PX = 640
_PICTURES = 8


class BareLoop:
    """The engine alone: AsyncInferQueue over preallocated inputs, the callback reads the rows and counts."""

    def __init__(self, bundle: Bundle, pictures: np.ndarray, threads: int) -> None:
        self._compiled = compile_for_cpu(bundle, threads=threads, planar=True, requests=in_flight(threads))
        self._queue = ov.AsyncInferQueue(self._compiled, in_flight(threads))
        self._inputs = [ov.Tensor(np.ascontiguousarray(p[None, None])) for p in pictures]
        self.done = self.pictures = 0
        self.cpu_s = 0.0
        self._queue.set_callback(self._count)

    def _count(self, request: ov.InferRequest, _: Any) -> None:
        self.done += request.get_output_tensor(0).data.shape[0]

    def run(self, seconds: float) -> float:
        """Pictures a second."""
        self.done = 0
        started_s, cpu_s = time.monotonic(), time.process_time()
        i = 0
        while time.monotonic() - started_s < seconds:
            self._queue.start_async({0: self._inputs[i % len(self._inputs)]})
            i += 1
        self._queue.wait_all()
        self.pictures += self.done
        self.cpu_s += time.process_time() - cpu_s
        return self.done / (time.monotonic() - started_s)


def pictures_of(size_px: int) -> np.ndarray:
    """Grey pictures (n, size, size) with structure, so that no engine can skip anything."""
    rng = np.random.default_rng(5)
    return rng.integers(0, 255, (_PICTURES, size_px, size_px), dtype=np.uint8)


def measure_ratio(folder: Path, *, seconds: float, rounds: int, threads: int) -> dict[str, Any]:
    """Bare and full in turn."""
    bundle, name = bundle_to_measure(folder)
    size_px = bundle.card.input.width_px
    pictures = pictures_of(size_px)
    config_path = write_station(
        folder,
        size_px=size_px,
        slots=_SLOTS,
        bundle=bundle.path,
        trusted=keys_of(bundle),
        engine="openvino",
        threads=threads,
    )
    bare = BareLoop(bundle, pictures, threads)
    bare_fps, fed = [], []
    with fed_inspector(config_path) as (feeder, _):
        feeder.load(pictures)
        bare.run(seconds / 2)
        feeder.run(seconds / 2)
        for i in range(rounds):
            first_bare = i % 2 == 0  # neither side always profits from the other's warm caches
            if first_bare:
                bare_fps.append(bare.run(seconds))
            fed.append(feeder.run(seconds, pause_s=_FEEDER_PAUSE_S))
            if not first_bare:
                bare_fps.append(bare.run(seconds))
    split_us = measure_split(config_path, folder / "split.json", pictures, seconds=seconds)
    pairs = [full.fps / alone for full, alone in zip(fed, bare_fps, strict=True)]
    full_us = sum(f.inspector_cpu_s for f in fed) / sum(f.parts for f in fed) * 1e6
    bare_us = bare.cpu_s / bare.pictures * 1e6
    return {
        "model": name,
        "input_px": size_px,
        "threads": threads,
        "in_flight": in_flight(threads),
        "rounds": rounds,
        "seconds_a_round": seconds,
        "bare_fps": statistics.median(bare_fps),
        "full_fps": statistics.median(f.fps for f in fed),
        "ratio": statistics.median(pairs),
        "ratios": pairs,
        "bare_cpu_us": bare_us,
        "full_cpu_us": full_us,
        "cpu_ratio": bare_us / full_us,
        "feeder_cpu_us": sum(f.feeder_cpu_s for f in fed) / sum(f.parts for f in fed) * 1e6,
        "split_us": split_us,
    }


def measure_split(config_path: Path, path: Path, pictures: np.ndarray, *, seconds: float) -> dict[str, float]:
    """CPU microseconds a picture of each stage of the inspector; with probes, so in an inspector of its own."""
    with fed_inspector(config_path, program=("benchmarks.split", "--split", str(path))) as (feeder, _):
        feeder.load(pictures)
        feeder.run(seconds)
    return json.loads(path.read_text())


def measure_null(folder: Path, *, seconds: float) -> dict[str, Any]:
    """CPU of the inspector a picture with an engine that does nothing: saturated, and at 100 a second."""
    config_path = write_station(
        folder,
        size_px=_NULL_PX,
        slots=_NULL_SLOTS,
        bundle=folder,
        trusted=folder,
        engine="scripted",
        threads=1,
    )
    with fed_inspector(config_path) as (feeder, _):
        feeder.load(pictures_of(_NULL_PX))
        feeder.run(0.5)
        saturated = feeder.run(seconds)
        idle_us_per_s = _idle_cost(feeder)
        paced = feeder.run(seconds, rate_hz=100.0)
        result = {
            "size_px": _NULL_PX,
            "cpu_us": saturated.cpu_us,
            "fps": saturated.fps,
            "parts": saturated.parts,
            "paced_100hz_cpu_us": paced.cpu_us,
            "idle_cpu_us_per_s": idle_us_per_s,
        }
        if saturated.cpu_us > CPU_TARGET_US:
            result["profile"] = _profile(feeder, seconds)
    return result


def _idle_cost(feeder: Feeder) -> float:
    """Heartbeat and ticks without any picture, microseconds of CPU a second."""
    before_s = feeder.cpu_s()
    time.sleep(1.0)
    return (feeder.cpu_s() - before_s) * 1e6


def _profile(feeder: Feeder, seconds: float) -> list[str]:
    """Where the time goes (py-spy, when it is installed and allowed): the hottest lines first."""
    with tempfile.TemporaryDirectory() as folder, _pyspy(feeder.pid, Path(folder) / "p.txt", seconds) as path:
        feeder.run(seconds + 1)
        if path is None or not path.exists():
            return []
        counts: dict[str, int] = {}
        for line in path.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            leaf = stack.rpartition(";")[2]
            counts[leaf] = counts.get(leaf, 0) + int(count)
    return [f"{n} {leaf}" for leaf, n in sorted(counts.items(), key=lambda item: -item[1])[:15]]


@contextlib.contextmanager
def _pyspy(pid: int, path: Path, seconds: float) -> Iterator[Path | None]:
    tool = Path(sys.executable).with_name("py-spy")
    if not tool.exists():
        yield None
        return
    command = [str(tool), "record", "-f", "raw", "-r", "500", "-d", str(max(1, int(seconds))), "-o", str(path)]
    process = subprocess.Popen([*command, "-p", str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield path
        process.wait(seconds + 20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write the report; always 0: a benchmark reports, it does not judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the report here")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="gatesight-bench-") as folder:
        null = measure_null(Path(folder), seconds=arguments.seconds)
        report = measure_ratio(
            Path(folder), seconds=arguments.seconds, rounds=arguments.rounds, threads=arguments.threads
        )
    report |= {"null_engine": null, "ratio_target": RATIO_TARGET, "cpu_target_us": CPU_TARGET_US}
    print(f"model        {report['model']}, {report['input_px']} px, {report['threads']} threads")
    print(
        f"bare engine  {report['bare_fps']:.1f} pictures/s (AsyncInferQueue, {report['in_flight']} in flight)"
    )
    print(f"pipeline     {report['full_fps']:.1f} pictures/s")
    print(f"ratio        {report['ratio']:.3f} (target >= {RATIO_TARGET}), median of {report['rounds']} pairs")
    bare_us, full_us = report["bare_cpu_us"], report["full_cpu_us"]
    print(f"CPU          {bare_us:.0f} us a picture bare, {full_us:.0f} inspector: {report['cpu_ratio']:.3f}")
    print(f"feeder       {report['feeder_cpu_us']:.0f} us a picture (plays camera and gate on the same cores)")
    stages = ", ".join(f"{stage} {us:.0f}" for stage, us in report["split_us"].items())
    print(f"stages       us a picture, probes included: {stages}")
    print(f"null engine  {null['cpu_us']:.1f} us of CPU a picture at 640x640 (target <= {CPU_TARGET_US:.0f});")
    paced_us, idle_us = null["paced_100hz_cpu_us"], null["idle_cpu_us_per_s"]
    print(f"             {paced_us:.1f} us at 100 pictures/s; idle {idle_us:.0f} us a second")
    for line in null.get("profile", []):
        print(f"             {line}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
