# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings: order, read-back and refusals, on nodes that misbehave on purpose; and the map of device clocks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cameras.base import CameraFault, CameraSpec, SettingValue
from cameras.device_clock import DeviceClock, Latch
from cameras.settings import NodeKind, NodeRefused, apply, wanted_settings


class StubNodes:
    """Nodes that can round, forget, lock and refuse."""

    def __init__(self) -> None:
        self.values: dict[str, SettingValue] = {
            "Width": 640,
            "Height": 480,
            "OffsetX": 0,
            "PixelFormat": "Mono8",
            "ExposureTime": 100.0,
            "Gain": 0.0,
            "GammaEnable": False,
            "DeviceUserID": "",
            "ChunkSelector": "FrameID",
            "ChunkEnable": False,
        }
        self.chunks: dict[str, SettingValue] = {"FrameID": False, "EncoderValue": False}
        self.written: list[str] = []
        self.rounds_to = 0.0
        self.forgets: set[str] = set()
        self.locked: set[str] = set()
        self.spoils: dict[str, str] = {}  # writing the one changes the other

    def names(self) -> Sequence[str]:
        return [*self.values, "UserSetLoad"]

    def kind(self, name: str) -> NodeKind:
        if name == "UserSetLoad":
            return NodeKind.COMMAND
        value = self.values[name]
        if name in {"PixelFormat", "ChunkSelector"}:
            return NodeKind.ENUMERATION
        by_type = {bool: NodeKind.BOOLEAN, int: NodeKind.INTEGER, float: NodeKind.FLOAT, str: NodeKind.STRING}
        return by_type[type(value)]

    def writable(self, name: str) -> bool:
        return name not in self.locked

    def entries(self, name: str) -> Sequence[str]:
        return ["Mono8", "Mono16"] if name == "PixelFormat" else list(self.chunks)

    def read(self, name: str) -> SettingValue:
        return self.chunks[str(self.values["ChunkSelector"])] if name == "ChunkEnable" else self.values[name]

    def write(self, name: str, value: SettingValue) -> None:
        self.written.append(name)
        if name == "Gain" and isinstance(value, float) and value > 48:
            raise NodeRefused("Gain must be at most 48")
        if name in self.forgets:
            return
        if isinstance(value, float) and self.rounds_to:
            value = round(value / self.rounds_to) * self.rounds_to
        if name == "ChunkEnable":
            self.chunks[str(self.values["ChunkSelector"])] = value
        else:
            self.values[name] = value
        if name in self.spoils:
            self.values[self.spoils[name]] = 0.0

    def execute(self, name: str) -> None:
        self.written.append(name)


def refusal(nodes: StubNodes, *settings: tuple[str, SettingValue]) -> str:
    with pytest.raises(CameraFault) as caught:
        apply("C1", nodes, settings)
    sentence = str(caught.value)
    assert "C1" in sentence
    assert "\n" not in sentence
    return sentence


def test_settings_are_written_in_the_order_of_the_file() -> None:
    nodes = StubNodes()
    apply("C1", nodes, [("UserSetLoad", True), ("ExposureTime", 50), ("Gain", 6.0), ("GammaEnable", True)])
    assert nodes.written == ["UserSetLoad", "ExposureTime", "Gain", "GammaEnable"]
    assert nodes.values["ExposureTime"] == 50.0


def test_camera_may_round_a_float_a_little_but_not_more() -> None:
    nodes = StubNodes()
    nodes.rounds_to = 0.7
    apply("C1", nodes, [("ExposureTime", 100.2)])
    assert "wanted 1.0, got 0.7" in refusal(nodes, ("ExposureTime", 1.0))


def test_setting_that_does_not_stick_names_node_wanted_and_got() -> None:
    nodes = StubNodes()
    nodes.forgets = {"Width"}
    sentence = refusal(nodes, ("Width", 320))
    assert "does not keep Width: wanted 320, got 640" in sentence


def test_setting_that_a_later_one_spoils_is_found_at_the_end() -> None:
    nodes = StubNodes()
    nodes.spoils = {"Gain": "ExposureTime"}
    assert "ExposureTime: wanted 80.0, got 0.0" in refusal(nodes, ("ExposureTime", 80.0), ("Gain", 3.0))


def test_values_behind_a_selector_are_read_back_with_their_selector() -> None:
    nodes = StubNodes()
    chunks = [("ChunkSelector", "FrameID"), ("ChunkEnable", True), ("ChunkSelector", "EncoderValue")]
    apply("C1", nodes, [*chunks, ("ChunkEnable", False)])
    assert nodes.chunks == {"FrameID": True, "EncoderValue": False}


def test_locked_node_is_named_unless_it_already_is_what_we_want() -> None:
    nodes = StubNodes()
    nodes.locked = {"Width"}
    apply("C1", nodes, [("Width", 640)])
    assert "Width is locked at 640" in refusal(nodes, ("Width", 320))


def test_refusals_say_what_would_fit() -> None:
    nodes = StubNodes()
    assert "the closest it has: ExposureTime" in refusal(nodes, ("ExposureTimes", 1))
    assert "nothing it has is called alike" in refusal(nodes, ("Zzz", 1))
    assert "(Mono8, Mono16), not 'Mono9'" in refusal(nodes, ("PixelFormat", "Mono9"))
    assert "takes an integer, not 1.5" in refusal(nodes, ("Width", 1.5))
    assert "takes an integer, not True" in refusal(nodes, ("Width", True))
    assert "takes true or false, not 1" in refusal(nodes, ("GammaEnable", 1))
    assert "takes a text, not 5" in refusal(nodes, ("DeviceUserID", 5))
    assert "Gain must be at most 48" in refusal(nodes, ("Gain", 99.0))
    assert "is a command; write true" in refusal(nodes, ("UserSetLoad", 1))
    assert "takes a number, not nan" in refusal(nodes, ("Gain", float("nan")))


def test_trigger_that_the_camera_does_not_have_is_refused_and_free_running_is_not() -> None:
    nodes = StubNodes()
    line = CameraSpec(serial="C1", producer="x", width_px=64, height_px=48, pixel_format="Mono8")
    assert ("TriggerMode", "On") in wanted_settings(line, nodes)
    assert "has no setting TriggerMode" in refusal(nodes, *wanted_settings(line, nodes))
    free = CameraSpec(
        serial="C1", producer="x", width_px=64, height_px=48, pixel_format="Mono8", trigger="free"
    )
    apply("C1", nodes, wanted_settings(free, nodes))
    assert (nodes.values["Width"], nodes.values["Height"]) == (64, 48)


def test_configured_value_replaces_the_one_we_would_have_chosen() -> None:
    spec = CameraSpec(
        serial="C1",
        producer="x",
        width_px=64,
        height_px=48,
        pixel_format="Mono8",
        settings=(("TriggerMode", "On"), ("TriggerSource", "Encoder0"), ("OffsetX", 8)),
    )
    wanted = wanted_settings(spec, StubNodes())
    assert [v for n, v in wanted if n == "TriggerSource"] == ["Encoder0"]
    assert [v for n, v in wanted if n == "OffsetX"] == [8]


@given(
    offset=st.integers(-(10**18), 10**18),
    delays=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=8),
)
def test_device_clock_is_mapped_within_its_own_uncertainty(offset: int, delays: list[tuple[int, int]]) -> None:
    start = 5 * 10**12
    latches = [
        Latch(before_ns=start, device_ns=start + there - offset, after_ns=start + there + back)
        for there, back in delays
    ]
    clock = DeviceClock.from_latches(latches)
    assert clock is not None
    true_ns = start + 10**9
    mapped = clock.to_monotonic(true_ns - offset, true_ns + 5 * 10**6)
    assert mapped is not None
    slack = clock.uncertainty_ns or max(there + back for there, back in delays)
    assert abs(mapped - true_ns) <= slack + 1


def test_stamp_of_another_clock_is_no_exposure_instant() -> None:
    clock = DeviceClock(offset_ns=0, uncertainty_ns=0)
    assert clock.to_monotonic(10**9, 10**9 - 1) is None  # in the future
    assert clock.to_monotonic(10**9, 10**12) is None  # a quarter of an hour ago
    assert clock.to_monotonic(10**9, 10**9 + 500) == 10**9
    assert DeviceClock.from_latches([]) is None
