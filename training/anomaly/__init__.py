# SPDX-License-Identifier: AGPL-3.0-or-later
"""Good-only detection: what a station learns from good parts alone, and how it becomes one ONNX graph."""
