# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pages that people see once they are logged in. Their permissions stand in the table of routes.py."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import HTTPException, Path, Query, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from inspection.storage.images import PictureAltered
from station_app import shown
from station_app.console import console_of, session_of
from station_app.export import csv_lines
from station_app.history import RecordsUnavailable, Search
from station_app.words import DISPOSITIONS, OUTCOMES, REASONS

PartId = Annotated[int, Path(ge=1, le=2**62)]
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Query(max_length=64)]
_MEDIA_TYPES = {"jpg": "image/jpeg", "png": "image/png"}


def render(request: Request, name: str, status_code: int = 200, **context: object) -> HTMLResponse:
    """One page, with what every page shows."""
    console = console_of(request)
    common = {
        "station": console.config.station,
        "session": session_of(request),
        "theme": _theme(request),
        "path": request.url.path,
    }
    return console.templates.TemplateResponse(request, name, {**common, **context}, status_code=status_code)


def _theme(request: Request) -> str:
    chosen = request.cookies.get("gatesight_theme", "auto")
    return chosen if chosen in {"light", "dark"} else "auto"


def live_page(request: Request) -> HTMLResponse:
    """The line, live."""
    reasons = {name: meaning._asdict() for name, meaning in REASONS.items()}
    return render(request, "live.html", cameras=console_of(request).config.camera, reasons=reasons)


class SearchForm:
    """The fields of the history's search, as they came, and what they mean. Nonsense is told, not guessed."""

    def __init__(  # noqa: PLR0917 - FastAPI reads the query's fields from here
        self,
        outcome: Annotated[list[str] | None, Query(max_length=3)] = None,
        reason: Text = "",
        defect: Text = "",
        epoch: Text = "",
        seq: Text = "",
        since: Text = "",
        until: Text = "",
    ) -> None:
        self.outcome = [o for o in outcome or [] if o in OUTCOMES]
        self.reason, self.defect = reason.strip(), defect.strip()
        self.epoch, self.seq, self.since, self.until = epoch.strip(), seq.strip(), since.strip(), until.strip()
        self.errors: dict[str, str] = {}
        self.search = Search(
            outcomes=tuple(self.outcome),
            reason=self.reason or None,
            defect_class=self.defect or None,
            epoch=self._number("epoch", self.epoch),
            seq=self._number("seq", self.seq),
            since_utc_ns=self._instant("since", self.since),
            until_utc_ns=self._instant("until", self.until),
        )

    def _number(self, name: str, text: str) -> int | None:
        if not text:
            return None
        if text.isascii() and text.isdigit() and 1 <= int(text) <= 65535:
            return int(text)
        self.errors[name] = "A number from 1 to 65535."
        return None

    def _instant(self, name: str, text: str) -> int | None:
        if not text:
            return None
        at = shown.parse_local_time(text)
        if at is None or abs(at) > 2**62:
            self.errors[name] = "A date and time, such as 2026-11-22T14:30."
            return None
        return at

    @property
    def is_filtered(self) -> bool:
        """Whether anything narrows the search."""
        return bool(self.query())

    def query(self, **more: object) -> str:
        """As a query string."""
        names = ("reason", "defect", "epoch", "seq", "since", "until")
        fields = [("outcome", o) for o in self.outcome]
        fields += [(name, value) for name in names if (value := getattr(self, name))]
        fields += [(name, str(value)) for name, value in more.items()]
        return urlencode(fields)


def parts_page(request: Request, form: SearchForm, before: int | None) -> HTMLResponse:
    """The history: the whole page, or only more rows when htmx asks for them."""
    history = console_of(request).history
    classes: list[str] = []
    thumbs, next_before, trouble = [], None, None
    try:
        if not form.errors:
            page = history.page(form.search, before=before)
            thumbs, next_before = history.thumbs(page.parts), page.next_before
        classes = history.defect_classes()
    except RecordsUnavailable as e:
        trouble = str(e)
    wanted = request.headers.get("hx-target", "")
    name = {"results": "_results.html", "more": "_rows.html"}.get(wanted, "parts.html")
    return render(
        request,
        name,
        form=form,
        thumbs=thumbs,
        next_before=next_before,
        first=before is None,
        trouble=trouble,
        classes=classes,
        outcomes=OUTCOMES,
        reasons=REASONS,
    )


def part_page(request: Request, part_id: PartId) -> HTMLResponse:
    """One part and all that its verdict rests on."""
    part = console_of(request).history.part(part_id)
    if part is None:
        raise HTTPException(404, f"There is no part {part_id} in the records.")
    return render(
        request,
        "part.html",
        part=part,
        numbered=list(enumerate(part.findings, 1)),
        serials={v.camera: v.serial for v in part.views if v.serial},
        spans=shown.timing_spans(part.timing),
        end_ms=shown.timing_end_ms(part.timing),
        reason=REASONS.get(part.reason),
        outcome=OUTCOMES[part.outcome],
        disposition=DISPOSITIONS.get(part.disposition or 0),
    )


def parts_csv(request: Request, form: SearchForm) -> StreamingResponse:
    """What was searched, as a file for a spreadsheet."""
    if form.errors:
        name, told = next(iter(form.errors.items()))
        raise HTTPException(422, f"{name}: {told}")
    chunks = console_of(request).history.every(form.search)
    first = next(chunks, [])  # trouble with the records shows here, before the answer has begun
    return StreamingResponse(
        csv_lines(first, chunks),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": 'attachment; filename="parts.csv"'},
    )


def image(request: Request, digest: Digest) -> Response:
    """A stored picture. Its name is its content, so it may be kept for ever."""
    data, kind = _picture(request, digest)
    headers = {"cache-control": "private, max-age=31536000, immutable", "etag": f'"{digest}"'}
    if request.headers.get("if-none-match") == f'"{digest}"':
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=_MEDIA_TYPES[kind], headers=headers)


def download(request: Request, part_id: PartId, camera: Annotated[int, Path(ge=0, le=255)]) -> Response:
    """One part's picture as a file with a telling name."""
    part = console_of(request).history.part(part_id)
    view = next((v for v in part.views if v.camera == camera), None) if part else None
    if part is None or view is None or view.image is None:
        raise HTTPException(404, "No picture of this view was kept.")
    data, kind = _picture(request, view.image)
    name = f"part-{part.epoch}-{part.seq}-camera{camera}.{kind}"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type=_MEDIA_TYPES[kind], headers=headers)


def _picture(request: Request, digest: str) -> tuple[bytes, str]:
    console = console_of(request)
    kind = console.history.image_type(digest)
    try:
        data = console.images.get(digest, kind) if kind in _MEDIA_TYPES else None
    except PictureAltered as e:
        raise HTTPException(410, str(e)) from e
    if kind is None or data is None:
        raise HTTPException(404, "This picture is not kept (any more).")
    return data, kind


def help_page(request: Request) -> HTMLResponse:
    """What the console shows, and what it is not."""
    return render(request, "help.html", reasons=REASONS, outcomes=OUTCOMES, config=console_of(request).config)
