# SPDX-License-Identifier: AGPL-3.0-or-later
"""XML from outside as a small tree that knows its line numbers, and XML for outside.

Expat itself, because it tells the line of every element. A document type is refused, so there are no entities
but the five of XML itself and no bomb made of them; size, depth and number of elements are limited.
"""

from __future__ import annotations

import xml.etree.ElementTree as Xml
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from datasets.formats.out import put_text
from datasets.formats.place import Place, read_text
from inspection.types import StationFault

MAX_ELEMENTS = 5_000_000
MAX_DEPTH = 32


@dataclass(slots=True, kw_only=True)
class Element:
    """One element: its tag, attributes, text and children, and where it stands."""

    tag: str
    place: Place
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, tag: str) -> Iterator[Element]:
        """Children of that tag."""
        return (child for child in self.children if child.tag == tag)

    def one(self, tag: str) -> Element:
        """The child of that tag; refuses when there is none, or more."""
        found = list(self.all(tag))
        if len(found) != 1:
            raise self.place.fault(f"<{self.tag}> has {len(found)} <{tag}>, it needs one")
        return found[0]

    def get(self, name: str) -> str:
        """An attribute; refuses when it is not there."""
        if name not in self.attributes:
            raise self.place.fault(f"<{self.tag}> has no {name}")
        return self.attributes[name]

    def words(self, tag: str) -> str:
        """Text of the child of that tag, without the space around it."""
        return self.one(tag).text.strip()


def parse(path: Path) -> Element:
    """Read an XML file; StationFault with the line when it is not XML, or more than data."""
    data, reader = read_text(path).encode(), _Reader(Place(path))
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        said = expat.errors.messages[error.code]
        raise Place(path).line(error.lineno).fault(f"not XML ({said})") from None
    assert reader.root is not None  # noqa: S101 - expat refuses a document without a root
    return reader.root


class _Reader:
    def __init__(self, place: Place) -> None:
        self.root: Element | None = None
        self._place, self._open, self._count = place, [], 0
        self._texts: list[list[str]] = []
        self.parser = expat.ParserCreate("utf-8")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.EntityDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self._open: list[Element]

    def _fault(self, what: str) -> StationFault:
        return self._place.line(self.parser.CurrentLineNumber).fault(what)

    def _doctype(self, *_: object) -> None:
        raise self._fault("a document type (DOCTYPE) can hold a bomb and no labels; remove it")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._open) >= MAX_DEPTH:
            raise self._fault(f"more than {MAX_ELEMENTS} elements, or deeper than {MAX_DEPTH}")
        element = Element(tag=tag, place=self._place.line(self.parser.CurrentLineNumber), attributes=attributes)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)
        self._texts.append([])

    def _end(self, _tag: str) -> None:
        self._open.pop().text = "".join(self._texts.pop())

    def _characters(self, text: str) -> None:
        self._texts[-1].append(text)


def element(tag: str, text: str | None = None, /, **attributes: object) -> Xml.Element:
    """An element to write."""
    made = Xml.Element(tag, {name: str(value) for name, value in attributes.items()})
    made.text = text
    return made


def child(parent: Xml.Element, tag: str, text: object = None, /, **attributes: object) -> Xml.Element:
    """Add an element to write."""
    made = element(tag, None if text is None else str(text), **attributes)
    parent.append(made)
    return made


def put_xml(path: Path, root: Xml.Element) -> Path:
    """Write an XML file."""
    Xml.indent(root)
    return put_text(
        path, '<?xml version="1.0" encoding="utf-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"
    )
