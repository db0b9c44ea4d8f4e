"""Pictures of models: what is in them, where boxes are, and what is refused."""

from __future__ import annotations

import shutil
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import Input, Model, Sequential, layers, utils
from fusedlstm.models import layout, plotting

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("matplotlib")


def nested() -> Model:
    """Return a model of two inputs and outputs, a shared layer, and a model inside that is called twice."""
    inner = Sequential([Input((5, 3)), layers.LSTM(3, return_sequences=True)], name="inner")
    a, b = Input((5, 3), name="a"), Input((5, 3), name="b")
    dense = layers.Dense(3, name="dense", trainable=False)
    total = layers.Add(name="sum")([inner(inner(dense(a))), dense(b), a])
    return Model([a, b], [layers.LSTM(2, name="end")(total), total])


def size_of(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


@pytest.fixture(autouse=True)
def _without_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)


@pytest.mark.parametrize("rankdir", ["TB", "BT", "LR", "RL"])
def test_pictures(rankdir: str, tmp_path: Path) -> None:
    sizes = []
    for number, options in enumerate(
        (
            {},
            {"show_layer_names": True, "show_shapes": True, "show_dtype": True, "show_trainable": True},
            {"show_layer_names": True, "expand_nested": True, "show_layer_activations": True},
        )
    ):
        path = tmp_path / f"{number}.png"
        utils.plot_model(nested(), path, rankdir=rankdir, dpi=60, **options)
        sizes.append(size_of(path))
    assert sizes[1][0] > sizes[0][0]
    assert sizes[1][1] > sizes[0][1]
    utils.plot_model(nested(), tmp_path / "fine.png", rankdir=rankdir, dpi=120)
    np.testing.assert_allclose(size_of(tmp_path / "fine.png"), 2 * np.array(sizes[0]), atol=2)


def texts(**options: bool) -> tuple[list[str], Any]:
    wanted = (
        dict.fromkeys(("shapes", "kinds", "names", "activations", "trainable", "nested"), False) | options
    )
    drawing = plotting.drawing_of(nested(), **wanted)
    return ["|".join(box.lines) for box in drawing.boxes], drawing


def test_what_boxes_tell() -> None:
    plain, drawing = texts()
    assert sorted(plain) == ["Add", "Dense", "InputLayer", "InputLayer", "LSTM", "Sequential"]
    arrows = {(plain[one], plain[two]) for one, two in drawing.edges}
    assert ("Sequential", "Sequential") in arrows  # It is called on its own output.
    assert ("Sequential", "Add") in arrows
    assert ("Dense", "Add") in arrows
    assert ("InputLayer", "Add") in arrows
    told, _ = texts(shapes=True, kinds=True, names=True, trainable=True)
    assert "a (InputLayer)|out: (None, 5, 3)|float32" in told
    assert "dense (Dense)|in: (None, 5, 3)|out: (None, 5, 3)|float32|frozen" in told
    assert "end (LSTM)|in: (None, 5, 3)|out: (None, 2)|float32|trainable" in told
    assert any(text.startswith("sum (Add)|in: (None, 5, 3), (None, 5, 3), (None, 5, 3)|") for text in told)


def test_activations() -> None:
    told, _ = texts(names=True, activations=True)
    assert {"dense (Dense)|linear", "end (LSTM)|tanh", "sum (Add)"} <= set(told)


def test_layers_of_models_inside() -> None:
    found, drawing = texts(names=True, nested=True)
    inside = [text for text, box in zip(found, drawing.boxes, strict=True) if box.groups == ("inner",)]
    assert len(inside) == 2
    assert not any("Sequential" in text for text in found)
    start, end = (found.index(text) for text in inside)
    assert {(start, end), (end, start), (end, found.index("sum (Add)"))} <= set(drawing.edges)


def test_places() -> None:
    """Boxes do not overlap, and those that others lead to lie further on."""
    random = np.random.default_rng(0)
    for count in (1, 2, 30):
        sizes = [(float(one), float(two)) for one, two in random.uniform(0.2, 1.5, (count, 2))]
        edges = [(int(one), two) for two in range(1, count) for one in random.integers(0, two, 2)]
        placed = layout.place(sizes, edges, [""] * count)
        for one in range(count):
            for two in range(one):
                apart = [
                    abs(where[one] - where[two]) - (sizes[one][axis] + sizes[two][axis]) / 2
                    for axis, where in enumerate((placed.along, placed.across))
                ]
                assert max(apart) > layout.GAP - 1e-9
        for (one, two), line in zip(edges, placed.lines, strict=True):
            ways = [placed.along[one], *(along for along, _ in line), placed.along[two]]
            assert ways == sorted(ways)


def test_by_graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "dot"
    program.write_text(f'#!/bin/sh\ncat > "{tmp_path}/text"\nprintf picture\n')
    program.chmod(0o700)
    monkeypatch.setattr(shutil, "which", lambda _: str(program))
    path = tmp_path / "model.png"
    utils.plot_model(nested(), path, show_layer_names=True, expand_nested=True, rankdir="LR", dpi=70)
    assert path.read_bytes() == b"picture"
    text = (tmp_path / "text").read_text()
    assert text.startswith("digraph model { rankdir=LR; dpi=70;")
    assert 'subgraph "cluster_inner" { label="inner";' in text
    assert '[label="end (LSTM)", fillcolor=' in text
    assert text.count("->") == len(texts(names=True, nested=True)[1].edges)
    program.write_text("#!/bin/sh\ncat > /dev/null\necho broken >&2\nexit 3\n")
    with pytest.raises(OSError, match="dot: expected a picture, got status 3: broken"):
        utils.plot_model(nested(), path)
    assert path.read_bytes() == b"picture"


def test_names_with_quotes() -> None:
    model = Sequential([Input((3,)), layers.Dense(1, name='a"\\b')])
    drawing = plotting.drawing_of(
        model, shapes=False, kinds=False, names=True, activations=False, trainable=False, nested=False
    )
    assert 'label="a\\"\\\\b (Dense)"' in plotting.dot_text(drawing, "TB", 100)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rankdir": "XY"}, ValueError, "rankdir: expected one of"),
        ({"dpi": 0}, ValueError, "dpi: expected a positive integer, got 0"),
        ({"to_file": "model.jpg"}, ValueError, "to_file: expected a file name that ends in .png"),
        ({"show_shapes": "yes"}, (TypeError, ValueError), "show_shapes"),
        ({"model": layers.Dense(1)}, TypeError, "model: expected a model, got Dense"),
        ({"model": Sequential([layers.Dense(1)])}, ValueError, "model: expected a built model"),
    ],
)
def test_refused(options: dict[str, Any], error: Any, message: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"model": nested(), "to_file": tmp_path / "model.png", **options}
    with pytest.raises(error, match=message):
        utils.plot_model(**arguments)
    assert not list(tmp_path.iterdir())
