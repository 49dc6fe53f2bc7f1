# SPDX-License-Identifier: AGPL-3.0-or-later
"""A bundle loads only when every byte is what a trusted key signed, and then it is plain ONNX."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import onnx
import pytest
from onnx import helper

from inspection.types import StationFault
from tests.bundles.tiny_models import bright_spot_model, card_dict
from weights.bundle import load_bundle, main, trust_bundle, verify_bundle, write_bundle
from weights.signing import fingerprint, public_bytes, station_key


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A good bundle and the folder that trusts its key."""
    root = tmp_path_factory.mktemp("bundles")
    key = station_key(root / "keys")
    write_bundle(
        root / "good",
        model=bright_spot_model(),
        card=card_dict(),
        key=key,
        recipe={"name": "r"},
        report={"n": 1},
    )
    return root / "good", root / "keys"


@pytest.fixture
def copy(made: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """The same bundle, to be damaged."""
    shutil.copytree(made[0], tmp_path / "copy")
    return tmp_path / "copy", made[1]


def one_sentence(e: pytest.ExceptionInfo[StationFault]) -> str:
    text = str(e.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_a_signed_bundle_loads_with_the_bytes_that_were_hashed(made: tuple[Path, Path]) -> None:
    bundle = load_bundle(made[0], [made[1]])
    assert bundle.model == bright_spot_model()
    assert bundle.signed_by == "station"
    assert bundle.card.classes == ["bright", "dark"]
    assert bundle.shape.fixed_batch is None
    assert json.loads(bundle.recipe or b"") == {"name": "r"}
    assert len(bundle.sha256) == 64


FILES = [
    "model.onnx",
    "card.json",
    "recipe.json",
    "report.json",
    "manifest.json",
    "manifest.sig",
    "manifest.pub",
]


@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_anywhere_refuses_the_bundle_and_names_the_file(
    copy: tuple[Path, Path], name: str, where: str
) -> None:
    target = copy[0] / name
    data = bytearray(target.read_bytes())
    # the last byte of a text file is its newline: a flipped one must be noticed in the manifest, and may be
    # harmless in .sig and .pub, where it is no part of the value
    last = len(data) - (2 if name.endswith((".sig", ".pub")) else 1)
    at = {"first": 0, "middle": len(data) // 2, "last": last}[where]
    data[at] ^= 1
    target.write_bytes(bytes(data))
    if name.endswith((".sig", ".pub")) and where == "last":
        data[at] = ord("!")
        target.write_bytes(bytes(data))
    with pytest.raises(StationFault) as e:
        load_bundle(copy[0], [copy[1]])
    assert name in one_sentence(e)


@pytest.mark.parametrize("name", ["model.onnx", "card.json", "manifest.json", "manifest.sig", "manifest.pub"])
def test_a_missing_file_is_named(copy: tuple[Path, Path], name: str) -> None:
    (copy[0] / name).unlink()
    with pytest.raises(StationFault) as e:
        load_bundle(copy[0], [copy[1]])
    assert name in one_sentence(e)
    assert "missing" in str(e.value)


@pytest.mark.parametrize("name", ["extra.txt", "best.pt", "model.onnx.data"])
def test_a_file_that_was_not_signed_is_refused(copy: tuple[Path, Path], name: str) -> None:
    (copy[0] / name).write_bytes(b"x")
    with pytest.raises(StationFault) as e:
        load_bundle(copy[0], [copy[1]])
    assert name in one_sentence(e)


def test_an_untrusted_key_is_named_with_its_remedy(made: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(StationFault) as e:
        load_bundle(made[0], [tmp_path / "nobody"])
    assert fingerprint(public_bytes(station_key(made[1]))) in one_sentence(e)
    assert "bundle trust" in str(e.value)


def test_a_bundle_signed_again_by_a_stranger_is_refused_until_a_person_trusts_the_key(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    stranger = station_key(tmp_path / "other")
    write_bundle(tmp_path / "theirs", model=bright_spot_model(), card=card_dict(), key=stranger)
    with pytest.raises(StationFault, match="does not trust"):
        load_bundle(tmp_path / "theirs", [made[1]])
    trust_bundle(tmp_path / "theirs", tmp_path / "trusted")
    assert load_bundle(tmp_path / "theirs", [made[1], tmp_path / "trusted"]).signed_by.startswith("theirs-")


def test_a_foreign_public_key_beside_a_good_signature_is_refused(
    copy: tuple[Path, Path], tmp_path: Path
) -> None:
    station_key(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "station.pub", copy[0] / "manifest.pub")
    with pytest.raises(StationFault, match="signature"):
        load_bundle(copy[0], [copy[1], tmp_path / "other"])


def test_links_are_not_followed(copy: tuple[Path, Path], tmp_path: Path) -> None:
    (copy[0] / "model.onnx").rename(tmp_path / "elsewhere.onnx")
    (copy[0] / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(StationFault) as e:
        load_bundle(copy[0], [copy[1]])
    assert "plain file" in one_sentence(e)


def test_a_torch_file_in_place_of_a_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(StationFault, match="can run code"):
        load_bundle(tmp_path / "best.pt", [])
    with pytest.raises(StationFault, match="No bundle at"):
        load_bundle(tmp_path / "nothing", [])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (b"PK\x03\x04" + b"0" * 100, "pickle"),
        (b"\x80\x04\x95" + b"0" * 100, "pickle"),
        (b"no model at all", "not an ONNX model"),
        (b"", "not an ONNX model"),
    ],
)
def test_a_pickle_or_rubbish_under_an_onnx_name_is_refused(tmp_path: Path, model: bytes, words: str) -> None:
    with pytest.raises(StationFault, match=words):
        write_bundle(tmp_path / "b", model=model, card=card_dict(), key=station_key(tmp_path / "k"))


def changed(change: str) -> bytes:
    model = onnx.load_model_from_string(bright_spot_model())
    if change == "external data":
        model.graph.initializer[2].data_location = onnx.TensorProto.EXTERNAL
        model.graph.initializer[2].external_data.add(key="location", value="/etc/passwd")
    elif change == "external data in a subgraph":
        tensor = helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        inner = helper.make_graph([helper.make_node("Identity", ["w"], ["o"])], "inner", [], [], [tensor])
        node = helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner)
        model.graph.node.append(node)
    elif change == "custom operator":
        model.graph.node[0].domain = "com.example"
    elif change == "custom domain":
        model.opset_import.append(helper.make_opsetid("com.example", 1))
    elif change == "function":
        node = helper.make_node("Identity", ["a"], ["b"])
        model.functions.append(helper.make_function("local", "f", ["a"], ["b"], [node], model.opset_import))
    elif change == "two inputs":
        model.graph.input.append(helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1]))
    elif change == "head with 84 rows":
        model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 84
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("external data", "another file"),
        ("external data in a subgraph", "another file"),
        ("custom operator", "custom operator"),
        ("custom domain", "custom operator domain"),
        ("function", "functions of its own"),
        ("two inputs", "2 inputs"),
        ("head with 84 rows", "NMS-free"),
    ],
)
def test_an_onnx_model_that_is_not_plain_is_refused(tmp_path: Path, change: str, words: str) -> None:
    with pytest.raises(StationFault) as e:
        write_bundle(tmp_path / "b", model=changed(change), card=card_dict(), key=station_key(tmp_path / "k"))
    assert words in one_sentence(e)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"card_version": 2}, "card_version 2"),
        ({"surprise": 1}, "surprise"),
        ({"classes": []}, "classes"),
        ({"classes": ["a", "a"]}, "classes"),
        ({"licence": ""}, "licence"),
        ({"input": {"width_px": 640, "height_px": 32, "channels": 1}}, "do not belong together"),
        ({"floor_score": float("nan")}, "floor_score"),
    ],
)
def test_a_card_that_is_not_understood_or_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    with pytest.raises(StationFault) as e:
        write_bundle(
            tmp_path / "b", model=bright_spot_model(), card=card_dict(**change), key=station_key(tmp_path / "k")
        )
    assert words in one_sentence(e)


def test_a_bundle_is_never_overwritten(made: tuple[Path, Path]) -> None:
    with pytest.raises(StationFault, match="never changed in place"):
        write_bundle(made[0], model=bright_spot_model(), card=card_dict(), key=station_key(made[1]))


def test_the_station_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    first = public_bytes(station_key(tmp_path / "keys"))
    assert public_bytes(station_key(tmp_path / "keys")) == first
    path = tmp_path / "keys" / "station.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not [p for p in path.parent.iterdir() if p.name.endswith(".new")]
    path.chmod(0o644)
    with pytest.raises(StationFault, match="chmod 600"):
        station_key(tmp_path / "keys")
    path.chmod(0o600)
    path.write_text("damaged")
    with pytest.raises(StationFault, match="damaged"):
        station_key(tmp_path / "keys")


def test_a_trusted_folder_with_a_broken_key_says_so(made: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "bad.pub").write_text("not base64 at all")
    with pytest.raises(StationFault, match=r"bad\.pub"):
        load_bundle(made[0], [tmp_path])


def test_command_line_verifies_and_refuses(copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--trusted", str(copy[1]), "--json"]
    assert main(["show", str(copy[0]), *where]) == 0
    assert json.loads(capsys.readouterr().out)["card"]["name"] == "bright spot"
    assert verify_bundle(copy[0], [copy[1]])["ok"] is True
    (copy[0] / "card.json").write_bytes(b"{}")
    assert main(["verify", str(copy[0]), *where]) == 3
    out = capsys.readouterr()
    assert json.loads(out.out)["ok"] is False
    assert "card.json" in out.err
