# SPDX-License-Identifier: AGPL-3.0-or-later
"""The feature table of the simulated camera: the single source of the device XML and of the C register map.

Names follow the GenICam Standard Features Naming Convention (SFNC), pixel format values the Pixel Format Naming
Convention (PFNC). Everything that begins with `Sim` is ours: what a test may switch on, and no real camera has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["integer", "float", "enumeration", "boolean", "command", "string"]

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)

PIXEL_FORMATS: tuple[tuple[str, int], ...] = (
    ("Mono8", 0x01080001),
    ("Mono10", 0x01100003),
    ("Mono12", 0x01100005),
    ("Mono12p", 0x010C0047),
    ("Mono16", 0x01100007),
    ("BayerGR8", 0x01080008),
    ("BayerRG8", 0x01080009),
    ("BayerGB8", 0x0108000A),
    ("BayerBG8", 0x0108000B),
    ("RGB8", 0x02180014),
)

# (name, chunk id, is a float): the order is the order in the buffer, eight bytes each.
CHUNKS: tuple[tuple[str, int, bool], ...] = (
    ("FrameID", 0x1001, False),
    ("Timestamp", 0x1002, False),
    ("ExposureTime", 0x1003, True),
    ("Gain", 0x1004, True),
    ("EncoderValue", 0x1005, False),
)

# Events of the remote device; each message is two 8-byte integers: timestamp in ns, frame id.
EVENTS: tuple[tuple[str, int], ...] = (("ExposureEnd", 0x9001), ("FrameTriggerMissed", 0x9002))
# The one event of the local device module: the camera is gone.
EVENT_DEVICE_LOST = 0x9F01


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One feature and the register behind it.

    `count` > 1 means an array of registers, picked by `selector`. `locked`: no writes while TLParamsLocked
    is set.
    `live`: the camera changes it by itself, so a client must not cache it. `saved`: part of a user set.
    """

    category: str
    name: str
    kind: Kind
    tip: str
    length: int = 4
    writable: bool = True
    minimum: float = 0
    maximum: float = 0xFFFFFFFF
    increment: int = 1
    unit: str = ""
    entries: tuple[tuple[str, int], ...] = ()
    locked: bool = False
    live: bool = False
    saved: bool = False
    selector: str = ""
    selects: tuple[str, ...] = ()
    count: int = 1
    maximum_formula: str = ""

    @property
    def namespace(self) -> str:
        """`Standard` for SFNC names, `Custom` for ours."""
        return "Custom" if self.name.startswith("Sim") or self.name == "TriggerMissedCount" else "Standard"


def _text(name: str, tip: str, *, writable: bool = False) -> Feature:
    return Feature(category="DeviceControl", name=name, kind="string", tip=tip, length=64, writable=writable)


def _size(
    name: str, tip: str, *, writable: bool = True, low: int = 0, step: int = 1, formula: str = ""
) -> Feature:
    return Feature(
        category="ImageFormatControl",
        name=name,
        kind="integer",
        tip=tip,
        writable=writable,
        minimum=low,
        maximum=65535,
        increment=step,
        locked=writable,
        saved=writable,
        maximum_formula=formula,
    )


def _float(
    category: str, name: str, tip: str, limits: tuple[float, float], unit: str, *, saved: bool = True
) -> Feature:
    return Feature(
        category=category,
        name=name,
        kind="float",
        tip=tip,
        length=8,
        minimum=limits[0],
        maximum=limits[1],
        unit=unit,
        saved=saved,
        writable=saved,
        live=not saved,
    )


def _choice(
    category: str,
    name: str,
    tip: str,
    entries: tuple[str, ...],
    *,
    selects: tuple[str, ...] = (),
    locked: bool = False,
    live: bool = False,
    writable: bool = True,
) -> Feature:
    return Feature(
        category=category,
        name=name,
        kind="enumeration",
        tip=tip,
        maximum=max(len(entries) - 1, 0),
        entries=tuple((entry, value) for value, entry in enumerate(entries)),
        selects=selects,
        locked=locked,
        live=live,
        writable=writable,
        saved=writable and not selects,
    )


def _command(category: str, name: str, tip: str) -> Feature:
    return Feature(category=category, name=name, kind="command", tip=tip, maximum=1, live=True)


def _counter(category: str, name: str, tip: str, *, low: int = 0) -> Feature:
    return Feature(
        category=category,
        name=name,
        kind="integer",
        tip=tip,
        length=8,
        writable=False,
        minimum=low,
        maximum=INT64_MAX,
        live=True,
    )


def _switch(category: str, name: str, tip: str, *, locked: bool = False, saved: bool = True) -> Feature:
    return Feature(category=category, name=name, kind="boolean", tip=tip, maximum=1, locked=locked, saved=saved)


def _fault(name: str, tip: str, maximum: int, *, live: bool = False, unit: str = "") -> Feature:
    return Feature(
        category="SimFaultControl", name=name, kind="integer", tip=tip, maximum=maximum, live=live, unit=unit
    )


FEATURES: tuple[Feature, ...] = (
    _text("DeviceVendorName", "Maker of the camera."),
    _text("DeviceModelName", "Model of the camera."),
    _text("DeviceVersion", "Version of the camera."),
    _text("DeviceSerialNumber", "Serial number, LS0001 and up: cameras are named by it."),
    _text("DeviceUserID", "A name given by the user.", writable=True),
    _float("DeviceControl", "DeviceTemperature", "Temperature of the sensor.", (-40, 120), "C", saved=False),
    _command("DeviceControl", "TimestampLatch", "Latch the current time into TimestampLatchValue."),
    _counter("DeviceControl", "TimestampLatchValue", "Time of the last latch: CLOCK_MONOTONIC in ns."),
    _size("WidthMax", "Width of the sensor in px.", writable=False),
    _size("HeightMax", "Height of the sensor in px.", writable=False),
    _size("Width", "Width of the picture in px.", low=16, step=4, formula="WidthMax - OffsetX"),
    _size("Height", "Height of the picture in px.", low=2, formula="HeightMax - OffsetY"),
    _size("OffsetX", "Left edge of the picture on the sensor in px.", step=4, formula="WidthMax - Width"),
    _size("OffsetY", "Upper edge of the picture on the sensor in px.", step=2, formula="HeightMax - Height"),
    Feature(
        category="ImageFormatControl",
        name="PixelFormat",
        kind="enumeration",
        tip="Format of a pixel (PFNC).",
        entries=PIXEL_FORMATS,
        locked=True,
        saved=True,
    ),
    _choice(
        "ImageFormatControl", "TestPattern", "What is seen without a feed.", ("Off", "GreyHorizontalRampMoving")
    ),
    _choice(
        "AcquisitionControl",
        "AcquisitionMode",
        "How many frames one start gives.",
        ("Continuous", "SingleFrame", "MultiFrame"),
        locked=True,
    ),
    _command(
        "AcquisitionControl", "AcquisitionStart", "Start; frame ids begin at 1; earlier triggers are lost."
    ),
    _command("AcquisitionControl", "AcquisitionStop", "Stop after the frame that is being taken."),
    Feature(
        category="AcquisitionControl",
        name="AcquisitionFrameCount",
        kind="integer",
        tip="Frames of one start in mode MultiFrame.",
        minimum=1,
        maximum=65535,
        locked=True,
        saved=True,
    ),
    _float("AcquisitionControl", "AcquisitionFrameRate", "Frames a second.", (0.1, 100000), "Hz"),
    _switch(
        "AcquisitionControl", "AcquisitionFrameRateEnable", "Whether the frame rate limits triggers as well."
    ),
    _float("AcquisitionControl", "ExposureTime", "Exposure time.", (1, 10000000), "us"),
    _choice(
        "AcquisitionControl",
        "TriggerSelector",
        "Which trigger the Trigger features configure.",
        ("FrameStart",),
        selects=("TriggerMode", "TriggerSource", "TriggerActivation", "TriggerDelay", "TriggerSoftware"),
    ),
    _choice("AcquisitionControl", "TriggerMode", "Whether frames wait for a trigger.", ("Off", "On")),
    _choice(
        "AcquisitionControl",
        "TriggerSource",
        "Where the trigger comes from; Line0 and Encoder0 are pushes to the feed.",
        ("Software", "Line0", "Encoder0"),
    ),
    _choice(
        "AcquisitionControl", "TriggerActivation", "Active edge (no effect).", ("RisingEdge", "FallingEdge")
    ),
    _float("AcquisitionControl", "TriggerDelay", "Time from trigger to exposure.", (0, 1000000), "us"),
    _command("AcquisitionControl", "TriggerSoftware", "One software trigger."),
    _counter(
        "AcquisitionControl",
        "TriggerMissedCount",
        "Triggers that came while the camera was busy, since opening.",
    ),
    _float("AnalogControl", "Gain", "Gain.", (0, 48), "dB"),
    _float("AnalogControl", "BlackLevel", "Black level.", (0, 255), "DN"),
    _choice("DigitalIOControl", "LineSelector", "Which line.", ("Line0",), selects=("LineMode", "LineStatus")),
    _choice("DigitalIOControl", "LineMode", "Direction of the line.", ("Input",)),
    Feature(
        category="DigitalIOControl",
        name="LineStatus",
        kind="boolean",
        tip="Level of the line (always low: edges are pulses).",
        maximum=1,
        writable=False,
        live=True,
    ),
    _choice(
        "EncoderControl",
        "EncoderSelector",
        "Which encoder.",
        ("Encoder0",),
        selects=("EncoderValue", "EncoderReset"),
    ),
    _counter("EncoderControl", "EncoderValue", "Encoder count now.", low=INT64_MIN),
    _command("EncoderControl", "EncoderReset", "Make the encoder count zero here."),
    _choice(
        "CounterAndTimerControl",
        "CounterSelector",
        "Which counter.",
        ("Counter0",),
        selects=("CounterEventSource", "CounterValue", "CounterReset"),
    ),
    _choice(
        "CounterAndTimerControl",
        "CounterEventSource",
        "FrameTrigger: every frame trigger while acquiring, missed ones included. FrameStart: frames begun.",
        ("Off", "FrameTrigger", "FrameStart"),
    ),
    _counter("CounterAndTimerControl", "CounterValue", "Count since the last reset."),
    _command("CounterAndTimerControl", "CounterReset", "Make the counter zero."),
    _switch("ChunkDataControl", "ChunkModeActive", "Append chunk data to each frame.", locked=True),
    _choice(
        "ChunkDataControl",
        "ChunkSelector",
        "Which chunk ChunkEnable is about.",
        tuple(name for name, _, _ in CHUNKS),
        selects=("ChunkEnable",),
    ),
    Feature(
        category="ChunkDataControl",
        name="ChunkEnable",
        kind="boolean",
        tip="Whether the selected chunk is appended.",
        maximum=1,
        locked=True,
        saved=True,
        selector="ChunkSelector",
        count=len(CHUNKS),
    ),
    _choice(
        "EventControl",
        "EventSelector",
        "Which event EventNotification is about.",
        tuple(name for name, _ in EVENTS),
        selects=("EventNotification",),
    ),
    Feature(
        category="EventControl",
        name="EventNotification",
        kind="enumeration",
        tip="Whether the selected event is sent.",
        maximum=1,
        entries=(("Off", 0), ("On", 1)),
        saved=True,
        selector="EventSelector",
        count=len(EVENTS),
    ),
    _choice(
        "UserSetControl",
        "UserSetSelector",
        "Which user set.",
        ("Default", "UserSet0", "UserSet1"),
        selects=("UserSetLoad", "UserSetSave"),
    ),
    _command("UserSetControl", "UserSetLoad", "Load the selected set; refused while acquiring."),
    _command("UserSetControl", "UserSetSave", "Save into the selected set; Default cannot be changed."),
    Feature(
        category="TransportLayerControl",
        name="PayloadSize",
        kind="integer",
        tip="Bytes of one frame, chunks included.",
        writable=False,
        live=True,
    ),
    Feature(
        category="TransportLayerControl",
        name="TLParamsLocked",
        kind="integer",
        tip="1 while the client acquires: features that change the payload are locked.",
        maximum=1,
    ),
    _fault(
        "SimDropNext",
        "Frames still to be lost on the way: the frame id is used up, no buffer comes.",
        65535,
        live=True,
    ),
    _fault("SimIncompleteNext", "Frames still to arrive half filled.", 65535, live=True),
    _fault("SimSlow", "Extra time from the end of read-out to delivery.", 60000, unit="ms"),
    _switch("SimFaultControl", "SimFrozen", "The picture stands still; ids and times go on.", saved=False),
    _fault(
        "SimDeviceLostTime", "How long SimDeviceLost lasts; 0 is until the process ends.", 3600000, unit="ms"
    ),
    _command("SimFaultControl", "SimDeviceLost", "Pull the plug."),
    _switch(
        "SimFaultControl",
        "SimMissWhenBusy",
        "Off: a trigger on a busy camera waits instead of being missed.",
        saved=False,
    ),
    Feature(
        category="SimFaultControl",
        name="SimReadoutTime",
        kind="integer",
        tip="Time from the end of exposure to the complete frame; the camera is busy meanwhile.",
        maximum=1000000,
        unit="us",
        saved=True,
    ),
)
