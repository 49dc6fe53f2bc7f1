# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writes, from the feature table, the GenApi 1.1 device XML and the C register map that must agree with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

from cameras.simulator.features import (
    CHUNKS,
    EVENT_DEVICE_LOST,
    EVENTS,
    FEATURES,
    INT64_MAX,
    INT64_MIN,
    Feature,
)

REGISTER_SPACE = 0x1000
"""Size of the register file in bytes; the XML lies behind it."""
XML_ADDRESS = 0x10000
"""Address at which the producer offers the XML."""
_FIRST_ADDRESS = 0x100

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<RegisterDescription ModelName="{model}" VendorName="Gatesight" ToolTip="{tip}" StandardNameSpace="None"
 SchemaMajorVersion="1" SchemaMinorVersion="1" SchemaSubMinorVersion="0"
 MajorVersion="1" MinorVersion="0" SubMinorVersion="0"
 ProductGuid="5A1F0F4E-1111-4B6E-9A52-{guid:012d}" VersionGuid="5A1F0F4E-2222-4B6E-9A52-{guid:012d}"
 xmlns="http://www.genicam.org/GenApi/Version_1_1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="http://www.genicam.org/GenApi/Version_1_1 http://www.genicam.org/GenApi/GenApiSchema_Version_1_1.xsd">
"""


def addresses() -> dict[str, int]:
    """Address of each feature's (first) register: in the order of the table, on 8-byte borders."""
    result: dict[str, int] = {}
    address = _FIRST_ADDRESS
    for feature in FEATURES:
        result[feature.name] = address
        size = feature.length * feature.count
        address += (size + 7) // 8 * 8
    if address > REGISTER_SPACE:
        raise ValueError(
            f"the feature table needs {address} bytes of registers; REGISTER_SPACE is {REGISTER_SPACE}"
        )
    return result


def _element(name: str, text: object) -> str:
    return f"<{name}>{escape(str(text))}</{name}>"


def _register(name: str, feature: Feature, address: int, port: str) -> str:
    tag = "FloatReg" if feature.kind == "float" else "IntReg"
    parts = [f"<{tag} Name={quoteattr(name)}>", _element("Address", f"0x{address:X}")]
    if feature.selector:
        parts.append(f'<pIndex Offset="{feature.length}">{feature.selector}Reg</pIndex>')
    access = "WO" if feature.kind == "command" else "RW" if feature.writable else "RO"
    parts += [
        _element("Length", feature.length),
        _element("AccessMode", access),
        _element("pPort", port),
        _element("Cachable", "NoCache" if feature.live else "WriteThrough"),
    ]
    if feature.selector:
        parts.append(_element("pInvalidator", f"{feature.selector}Reg"))
    if feature.saved:
        parts.append(_element("pInvalidator", "UserSetLoadReg"))
    if tag == "IntReg":
        parts.append(_element("Sign", "Signed" if feature.minimum < 0 else "Unsigned"))
    parts += [_element("Endianess", "LittleEndian"), f"</{tag}>"]
    return "".join(parts)


def _maximum_formula(feature: Feature) -> str:
    left, right = feature.maximum_formula.split(" - ")
    return (
        f'<IntSwissKnife Name="{feature.name}Limit"><pVariable Name="A">{left}Reg</pVariable>'
        f'<pVariable Name="B">{right}Reg</pVariable><Formula>A - B</Formula></IntSwissKnife>'
    )


def _feature(feature: Feature, address: int, port: str = "Device") -> Iterator[str]:
    name, register = feature.name, f"{feature.name}Reg"
    head = f'Name="{name}" NameSpace="{feature.namespace}"'
    about = _element("ToolTip", feature.tip)
    locked = _element("pIsLocked", "TLParamsLocked") if feature.locked else ""
    selects = "".join(_element("pSelected", other) for other in feature.selects)
    value = _element("pValue", register)
    match feature.kind:
        case "string":
            access = "RW" if feature.writable else "RO"
            yield (
                f"<StringReg {head}>{about}{_element('Address', f'0x{address:X}')}"
                f"{_element('Length', feature.length)}{_element('AccessMode', access)}"
                f"{_element('pPort', port)}</StringReg>"
            )
            return
        case "integer":
            top = (
                _element("pMax", f"{name}Limit")
                if feature.maximum_formula
                else _element("Max", int(feature.maximum))
            )
            unit = _element("Unit", feature.unit) if feature.unit else ""
            yield (
                f"<Integer {head}>{about}{locked}{value}{_element('Min', int(feature.minimum))}{top}"
                f"{_element('Inc', feature.increment)}{unit}</Integer>"
            )
            if feature.maximum_formula:
                yield _maximum_formula(feature)
        case "float":
            unit = _element("Unit", feature.unit) if feature.unit else ""
            yield (
                f"<Float {head}>{about}{locked}{value}{_element('Min', feature.minimum)}"
                f"{_element('Max', feature.maximum)}{unit}</Float>"
            )
        case "enumeration":
            entries = "".join(
                f'<EnumEntry Name="{entry}" NameSpace="Standard">{_element("Value", number)}</EnumEntry>'
                for entry, number in feature.entries
            )
            yield f"<Enumeration {head}>{about}{locked}{entries}{value}{selects}</Enumeration>"
        case "boolean":
            yield f"<Boolean {head}>{about}{locked}{value}<OnValue>1</OnValue><OffValue>0</OffValue></Boolean>"
        case "command":
            yield f"<Command {head}>{about}{value}<CommandValue>1</CommandValue></Command>"
    yield _register(register, feature, address, port)


def _read_only(category: str, name: str, tip: str, *, is_float: bool) -> Feature:
    return Feature(
        category=category,
        name=name,
        kind="float" if is_float else "integer",
        tip=tip,
        length=8,
        writable=False,
        live=True,
        minimum=-1e12 if is_float else INT64_MIN,
        maximum=1e12 if is_float else INT64_MAX,
    )


def _document(model: str, tip: str, guid: int, categories: dict[str, list[str]], body: Iterable[str]) -> bytes:
    lines = [_HEAD.format(model=model, tip=tip, guid=guid)]
    root = "".join(_element("pFeature", category) for category in categories)
    lines.append(f'<Category Name="Root" NameSpace="Standard">{root}</Category>')
    for category, names in categories.items():
        listed = "".join(_element("pFeature", name) for name in names)
        space = "Custom" if category.startswith("Sim") else "Standard"
        lines.append(f'<Category Name="{category}" NameSpace="{space}">{listed}</Category>')
    lines += body
    lines += ['<Port Name="Device" NameSpace="Standard"/>', "</RegisterDescription>", ""]
    return "\n".join(lines).encode("ascii")


def _event(name: str, event_id: int) -> Iterator[tuple[Feature | None, int, str]]:
    port = f"Event{name}Port"
    yield None, event_id, port
    for offset, field in enumerate(("Timestamp", "FrameID")):
        tip = f"{field} of the event {name}."
        yield _read_only("EventControl", f"Event{name}{field}", tip, is_float=False), 8 * offset, port


def device_xml() -> bytes:
    """XML of the remote device: every feature of the table, the chunks and the events."""
    categories: dict[str, list[str]] = {}
    body: list[str] = []
    where = addresses()
    for feature in FEATURES:
        categories.setdefault(feature.category, []).append(feature.name)
        body += _feature(feature, where[feature.name])
    for name, chunk_id, is_float in CHUNKS:
        port = f"Chunk{name}Port"
        body.append(f'<Port Name="{port}"><ChunkID>{chunk_id:X}</ChunkID></Port>')
        chunk = _read_only("ChunkDataControl", f"Chunk{name}", f"{name} of the frame.", is_float=is_float)
        categories[chunk.category].append(chunk.name)
        body += _feature(chunk, 0, port)
    for name, event_id in EVENTS:
        _add_event(name, event_id, categories, body)
    return _document("LineSim", "Simulated line camera", 1, categories, body)


def _add_event(name: str, event_id: int, categories: dict[str, list[str]], body: list[str]) -> None:
    for feature, number, port in _event(name, event_id):
        if feature is None:
            body.append(f'<Port Name="{port}"><EventID>{number:X}</EventID></Port>')
            continue
        categories.setdefault(feature.category, []).append(feature.name)
        body += _feature(feature, number, port)


def module_xml() -> bytes:
    """XML of the producer's own modules (system, interface, local device, stream): an id and the lost event."""
    name = Feature(
        category="Information",
        name="ModuleID",
        kind="string",
        tip="Which module this is.",
        length=64,
        writable=False,
    )
    categories = {"Information": ["ModuleID"]}
    body = list(_feature(name, 0))
    _add_event("DeviceLost", EVENT_DEVICE_LOST, categories, body)
    return _document("LineSimModule", "Module of the simulated camera's producer", 2, categories, body)


def _limits(feature: Feature) -> tuple[str, str]:
    if feature.kind == "float":
        return repr(float(feature.minimum)), repr(float(feature.maximum))
    # Integer limits beyond 2**53 are never checked: such registers are read-only.
    return repr(float(feature.minimum)), repr(float(min(feature.maximum, 2**53)))


def registers_header() -> str:
    """C header: addresses, enumeration values, chunk and event ids."""
    lines = [
        "/* Generated by cameras/simulator/device_xml.py: do not edit. */",
        "#ifndef DEVICE_REGISTERS_H",
        "#define DEVICE_REGISTERS_H",
        f"#define REGISTER_SPACE 0x{REGISTER_SPACE:X}u",
        f"#define XML_ADDRESS 0x{XML_ADDRESS:X}ull",
        f"#define CHUNK_COUNT {len(CHUNKS)}",
        f"#define EVENT_COUNT {len(EVENTS)}",
        f"#define EVENT_ID_DeviceLost 0x{EVENT_DEVICE_LOST:X}u",
    ]
    lines += [f"#define REG_{name} 0x{address:X}u" for name, address in addresses().items()]
    for feature in FEATURES:
        lines += [f"#define {feature.name}_{entry} 0x{value:X}u" for entry, value in feature.entries]
    lines += [f"#define CHUNK_ID_{name} 0x{chunk_id:X}u" for name, chunk_id, _ in CHUNKS]
    lines += [f"#define EVENT_ID_{name} 0x{event_id:X}u" for name, event_id in EVENTS]
    return "\n".join([*lines, "#endif", ""])


def registers_table() -> str:
    """C initialisers of the table by which the producer checks every write."""
    where = addresses()
    lines = ["/* Generated by cameras/simulator/device_xml.py: do not edit. */"]
    kinds = {"integer": 0, "enumeration": 0, "boolean": 0, "command": 3, "float": 1, "string": 2}
    for feature in FEATURES:
        low, high = _limits(feature)
        if feature.name == "PixelFormat":
            # Its values are no range; the producer checks them by name.
            low, high = "0.0", repr(float(0xFFFFFFFF))
        flags = f"{int(feature.writable)}, {int(feature.locked)}, {int(feature.saved)}"
        lines.append(
            f'{{"{feature.name}", 0x{where[feature.name]:X}u, {feature.length}u, {feature.count}u, '
            f"{kinds[feature.kind]}, {flags}, {feature.increment}u, {low}, {high}}},"
        )
    return "\n".join([*lines, ""])


def byte_array(symbol: str, content: bytes) -> str:
    """C source of a byte array and its size."""
    rows = [
        ", ".join(str(byte) for byte in content[start : start + 24]) for start in range(0, len(content), 24)
    ]
    joined = ",\n".join(rows)
    return (
        "/* Generated by cameras/simulator/device_xml.py: do not edit. */\n"
        f"#include <stddef.h>\nextern const unsigned char {symbol}[];\nextern const size_t {symbol}_size;\n"
        f"const unsigned char {symbol}[] = {{\n{joined}}};\nconst size_t {symbol}_size = sizeof {symbol};\n"
    )
