# SPDX-License-Identifier: AGPL-3.0-or-later
"""The words people read: outcomes, reasons, dispositions, states; each with its meaning and what to check."""

from __future__ import annotations

from typing import NamedTuple

from inspection.types import Disposition, Reason, StationState


class Meaning(NamedTuple):
    """A short label, what it means, and what a person can do about it."""

    label: str
    means: str
    check: str = ""


OUTCOMES: dict[str, Meaning] = {
    "pass": Meaning("Pass", "Inspected in time, and within every limit of the recipe."),
    "reject": Meaning("Reject", "Inspected in time, and at least one limit of the recipe was broken."),
    "not_inspected": Meaning("Not inspected", "No timely verdict. The gate diverts the part."),
}

REASONS: dict[str, Meaning] = {
    Reason.NONE.value: Meaning("None", "Nothing to explain."),
    Reason.DEFECT.value: Meaning("Defect", "A finding broke a limit of the recipe."),
    Reason.FRAME_MISSING.value: Meaning(
        "Picture missing",
        "No picture matched this part's trigger.",
        "Camera trigger cable, light barrier, and the encoder of both sides.",
    ),
    Reason.FRAME_LOST.value: Meaning(
        "Picture lost", "The camera's buffer was full.", "Engine load, and the number of slots."
    ),
    Reason.FRAME_INCOMPLETE.value: Meaning(
        "Picture incomplete",
        "The camera delivered part of a picture.",
        "Network cable, switch and packet size.",
    ),
    Reason.FRAME_UNHEALTHY.value: Meaning(
        "Picture unusable", "Too dark, too bright, blurred or frozen.", "Light, lens, and dirt on the window."
    ),
    Reason.PAIRING_AMBIGUOUS.value: Meaning(
        "Picture ambiguous", "Two pictures, or two parts, could belong together.", "Part distance and encoder."
    ),
    Reason.PAIRING_MISMATCH.value: Meaning(
        "Picture of another part",
        "The picture's encoder count is not this part's.",
        "Encoder signal at the camera.",
    ),
    Reason.PAIRING_TIME.value: Meaning(
        "Picture from another time",
        "The picture's encoder count is this part's, and its instant is not.",
        "A slipping encoder count at camera or PLC; how soon the PLC writes its triggers.",
    ),
    Reason.DEADLINE_MISSED.value: Meaning(
        "Too late", "The verdict was not ready at the deadline.", "Engine load and processor load."
    ),
    Reason.SHED.value: Meaning(
        "Shed",
        "Given up before inference: it could not have finished in time.",
        "Line rate against engine speed.",
    ),
    Reason.JOURNAL_LATE.value: Meaning(
        "Record too late", "A PASS was decided, its record was not on disk in time.", "Disk load."
    ),
    Reason.TRIGGER_MISSED.value: Meaning(
        "Trigger missed", "The PLC skipped a trigger number.", "PLC scan time and the trigger sensor."
    ),
    Reason.TRIGGER_LATE.value: Meaning(
        "Told too late",
        "When its trigger came, the part may have left the place where the station photographs it.",
        "PLC scan time, network, and processor load of the gate.",
    ),
    Reason.PITCH_TOO_SMALL.value: Meaning(
        "Too close", "Two parts came closer than the minimum pitch.", "Infeed spacing."
    ),
    Reason.RESYNC.value: Meaning("Resynchronised", "Trigger numbers jumped; the line re-arms.", "PLC restart?"),
    Reason.ENCODER_FAULT.value: Meaning(
        "Encoder fault", "Trigger encoders were not in order.", "Encoder cable, belt direction."
    ),
    Reason.PLC_LOST.value: Meaning("PLC lost", "The PLC's heartbeat stopped.", "PLC and its network cable."),
    Reason.HALTED.value: Meaning("Halted", "The station was halted or disarmed."),
    Reason.ENGINE_FAULT.value: Meaning(
        "Engine fault", "The detector failed or returned nonsense.", "Model bundle and the inspector's log."
    ),
    Reason.ENGINE_HUNG.value: Meaning(
        "Engine hung", "The detector did not answer.", "Processor load, GPU driver."
    ),
    Reason.INSPECTOR_LOST.value: Meaning(
        "Inspector lost", "The deciding process stopped; it restarts by itself."
    ),
    Reason.CAMERA_LOST.value: Meaning(
        "Camera lost", "A camera stopped answering.", "Camera power and network."
    ),
    Reason.JOURNAL_FAULT.value: Meaning("Journal fault", "Verdicts could not be recorded.", "Disk."),
    Reason.BUNDLE_CHANGED.value: Meaning(
        "Model changed", "Judged by another model than the one in use when the part came."
    ),
    Reason.RECIPE_CHANGED.value: Meaning("Recipe changed", "Judged under another recipe than the present one."),
    Reason.VERDICT_CONFLICT.value: Meaning("Conflicting verdicts", "Two different verdicts for one part."),
    Reason.RESTART.value: Meaning("Restart", "In flight when the station restarted."),
}

DISPOSITIONS: dict[int, Meaning] = {
    Disposition.PASSED.value: Meaning("Passed", "The gate let the part through."),
    Disposition.DIVERTED_CONFIRMED.value: Meaning("Diverted", "Diverted, and the reject sensor confirmed it."),
    Disposition.MISMATCH.value: Meaning(
        "Mismatch", "What the gate did is not what it was told.", "Reject sensor."
    ),
    Disposition.DIVERTED_BY_GATE.value: Meaning(
        "Diverted by the gate",
        "A passed part diverted for a reason of the gate's, such as a neighbour's reject.",
    ),
}

STATES: dict[int, Meaning] = {
    StationState.PREOPERATIONAL.value: Meaning("Starting", "Looking for cameras, engine and journal."),
    StationState.HALTED.value: Meaning("Halted", "Halted; a reset brings it back."),
    StationState.ERROR.value: Meaning("Error", "Journal or registers failed; needs ResetError."),
    StationState.OPERATIONAL.value: Meaning("Operational", "Up, not yet prepared."),
    StationState.INITIALIZED.value: Meaning("Not ready", "Waiting for cameras and engine."),
    StationState.READY.value: Meaning("Ready", "Ready, and waiting for the PLC to arm."),
    StationState.SINGLE_EXECUTION.value: Meaning("Single part", "Inspecting one part."),
    StationState.CONTINUOUS_EXECUTION.value: Meaning("Running", "Inspecting every part."),
}

PROCESS_LABELS = {
    "supervisor": "Supervisor",
    "gate": "Gate",
    "inspector": "Inspector and engine",
    "recorder": "Recorder",
    "shadow": "Shadow (candidate)",
    "watch": "Watch (withdraws a worse bundle)",
}


def process_label(role: str) -> str:
    """Name of a process for people."""
    if role.startswith("camera:"):
        return f"Camera {role.removeprefix('camera:')}"
    return PROCESS_LABELS.get(role, role)


def reason_label(reason: str) -> str:
    """Short label of a reason; an unknown one (a newer station) is shown as it stands."""
    known = REASONS.get(reason)
    return known.label if known else reason.replace("_", " ").capitalize()
