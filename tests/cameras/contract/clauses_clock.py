# SPDX-License-Identifier: AGPL-3.0-or-later
"""The clauses of the camera contract about time: who knows when a picture was exposed, and who does not."""

from __future__ import annotations

import pytest

from cameras.base import CameraFault, Clock, FaultKind, check_clock
from tests.cameras.contract.kit import clause, next_exposure, opened
from tests.cameras.contract.rigs import Rig


@clause()
def camera_says_before_its_first_frame_whether_its_pictures_bear_an_instant(rig: Rig) -> None:
    with opened(rig, start=False) as camera:
        said = camera.clock
        camera.start()
        exposure = next_exposure(camera)
        assert exposure.clock is said is camera.clock
        exposure.release()


@clause()
def camera_without_a_clock_is_refused_for_pairing_by_time_and_no_other_is(rig: Rig) -> None:
    with opened(rig, start=False) as camera:
        check_clock(camera, "encoder")
        if camera.clock is Clock.DEVICE:
            check_clock(camera, "timestamp")
            return
        with pytest.raises(CameraFault) as caught:
            check_clock(camera, "timestamp")
    assert caught.value.kind is FaultKind.UNSUPPORTED
    sentence = str(caught.value)
    assert camera.serial in sentence
    assert 'pairing to "encoder"' in sentence
    assert "\n" not in sentence
