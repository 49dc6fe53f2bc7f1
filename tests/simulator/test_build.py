# SPDX-License-Identifier: AGPL-3.0-or-later
"""The build: what comes out of it, when it is repeated, and what it says when it cannot."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import pytest
from genicam.genapi import NodeMap

from cameras.simulator import build as build_module
from cameras.simulator.build import SOURCES, build, main, producer_path
from cameras.simulator.device_xml import REGISTER_SPACE, addresses, device_xml, module_xml
from cameras.simulator.features import CHUNKS, EVENTS, FEATURES
from cameras.simulator.feed import HEADER_BYTES, LAYOUT, SLOT_HEADER_BYTES
from inspection.types import StationFault

# What harvesters and the genicam package look up; with one of them missing the process crashes.
NEEDED = [
    "GCInitLib",
    "GCCloseLib",
    "GCGetInfo",
    "GCGetLastError",
    "GCReadPort",
    "GCWritePort",
    "GCReadPortStacked",
    "GCWritePortStacked",
    "GCGetPortURL",
    "GCGetNumPortURLs",
    "GCGetPortURLInfo",
    "GCGetPortInfo",
    "GCRegisterEvent",
    "GCUnregisterEvent",
    "EventGetData",
    "EventGetDataInfo",
    "EventGetInfo",
    "EventFlush",
    "EventKill",
    "TLOpen",
    "TLClose",
    "TLGetInfo",
    "TLGetNumInterfaces",
    "TLGetInterfaceID",
    "TLGetInterfaceInfo",
    "TLOpenInterface",
    "TLUpdateInterfaceList",
    "IFClose",
    "IFGetInfo",
    "IFGetNumDevices",
    "IFGetDeviceID",
    "IFUpdateDeviceList",
    "IFGetDeviceInfo",
    "IFOpenDevice",
    "IFGetParentTL",
    "DevGetPort",
    "DevGetNumDataStreams",
    "DevGetDataStreamID",
    "DevOpenDataStream",
    "DevClose",
    "DevGetInfo",
    "DevGetParentIF",
    "DSAnnounceBuffer",
    "DSAllocAndAnnounceBuffer",
    "DSFlushQueue",
    "DSStartAcquisition",
    "DSStopAcquisition",
    "DSGetInfo",
    "DSGetBufferID",
    "DSClose",
    "DSRevokeBuffer",
    "DSQueueBuffer",
    "DSGetBufferInfo",
    "DSGetBufferChunkData",
    "DSGetParentDev",
    "DSGetNumBufferParts",
    "DSGetBufferPartInfo",
    "DSGetBufferInfoStacked",
    "DSAnnounceCompositeBuffer",
    "DSGetNumFlows",
    "DSGetFlowInfo",
    "DSGetNumBufferSegments",
    "DSGetBufferSegmentInfo",
]


def test_exports_exactly_the_functions_of_the_interface(producer: Path) -> None:
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", str(producer)], capture_output=True, text=True, check=True
    ).stdout
    exported = [line.split()[-1] for line in listed.splitlines()]
    assert sorted(exported) == sorted(NEEDED)


def test_device_xml_loads_and_holds_every_feature(tmp_path: Path) -> None:
    path = tmp_path / "device.xml"
    path.write_bytes(device_xml())
    nodes = NodeMap()
    nodes.load_xml_from_file(str(path))
    names = [feature.name for feature in FEATURES]
    names += [f"Chunk{name}" for name, _, _ in CHUNKS]
    names += [f"Event{name}{field}" for name, _ in EVENTS for field in ("Timestamp", "FrameID")]
    missing = [name for name in names if not nodes.has_node(name)]
    assert not missing


def test_module_xml_loads(tmp_path: Path) -> None:
    path = tmp_path / "module.xml"
    path.write_bytes(module_xml())
    nodes = NodeMap()
    nodes.load_xml_from_file(str(path))
    assert nodes.has_node("EventDeviceLostTimestamp")


def test_broken_device_xml_would_be_noticed(tmp_path: Path) -> None:
    path = tmp_path / "device.xml"
    path.write_bytes(device_xml().replace(b"<pValue>WidthReg</pValue>", b"<pValue>NoSuchReg</pValue>"))
    nodes = NodeMap()
    with pytest.raises(Exception, match="NoSuchReg"):
        nodes.load_xml_from_file(str(path))


def test_registers_do_not_overlap() -> None:
    where = addresses()
    spans = sorted((where[f.name], where[f.name] + f.length * f.count, f.name) for f in FEATURES)
    for (_, end, name), (start, _, following) in itertools.pairwise(spans):
        assert end <= start, (name, following)
    assert spans[-1][1] <= REGISTER_SPACE


def test_feed_layout_is_the_same_in_c_and_python() -> None:
    text = (SOURCES / "feed_layout.h").read_text()
    body = text[text.index("struct feed_header {") : text.index("};")]
    sizes = {"char": 1, "uint32_t": 4, "uint64_t": 8, "int64_t": 8}
    offset = 0
    found = {}
    for kind, name, count in re.findall(r"(?:_Atomic )?(char|u?int\d+_t) (\w+)(?:\[(\d+)\])?;", body):
        size = sizes[kind]
        offset = (offset + size - 1) // size * size
        found[name] = (offset, size)
        offset += size * int(count or 1)
    for name, (where, dtype) in LAYOUT.items():
        assert found[name] == (where, int(dtype[-1])), name
    assert f"FEED_HEADER_BYTES {HEADER_BYTES}u" in text
    assert f"FEED_SLOT_HEADER_BYTES {SLOT_HEADER_BYTES}u" in text


def test_builds_again_only_when_something_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def count(compiler: str, flags: list[str], generated: dict[str, str], target: Path) -> None:
        compiled.append(compiler)
        target.write_bytes(b"")

    monkeypatch.setattr(build_module, "_compile", count)
    build(tmp_path)
    build(tmp_path)
    assert len(compiled) == 1
    monkeypatch.setattr(build_module, "FLAGS", (*build_module.FLAGS, "-DCHANGED"))
    build(tmp_path)
    assert len(compiled) == 2


def test_missing_compiler_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(StationFault, match=r"no C compiler 'no-such-compiler'.*install"):
        build(tmp_path)
    assert main(["--out", str(tmp_path)]) == 1
    assert "no-such-compiler" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_failing_compiler_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "FLAGS", (*build_module.FLAGS, "-DGC_OK=syntax error"))
    with pytest.raises(StationFault, match="could not build the simulated camera"):
        build(tmp_path)
    assert not (tmp_path / "linesim.cti").exists()


def test_unbuilt_producer_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "DEFAULT_OUT", tmp_path)
    monkeypatch.setattr(build_module, "HERE", tmp_path)
    with pytest.raises(StationFault, match=r"not built; run: python -m cameras\.simulator\.build"):
        producer_path()


def test_source_files_stay_readable() -> None:
    folder = SOURCES.parent
    too_long = {
        path.name: lines
        for path in (*SOURCES.glob("*.[ch]"), *folder.glob("*.py"))
        if (lines := len(path.read_text().splitlines())) >= 400
    }
    assert not too_long
