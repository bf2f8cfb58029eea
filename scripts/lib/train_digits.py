"""
Trains the sample model: a small convolutional network that reads handwritten digits of 8 x 8 pixels.

1. `load_split` cuts scikit-learn's digits (1,797 images) into a training and a held-out part, always the same.
2. `train` fits the network by Adam, with the gradients written out by hand (`forward`, `backward`): numpy only.
3. `export` writes opml_dispute/models/: `digits.onnx`, `digits-samples.npz` (the held-out images and labels) and
   `digits.json` (what was measured, by ONNX Runtime, on the file itself).

The seed is fixed, but a matrix product of numpy may round differently on another processor, so another machine
may find slightly different weights. The committed file is the model; this script says where it came from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
Params = dict[str, F32]

MODELS = Path(__file__).resolve().parents[2] / "opml_dispute" / "models"
SEED = 8
HELD_OUT = 360
CHANNELS = (12, 24)
HIDDEN = 32
# Chosen on a slice of the training images; the held-out ones were only measured.
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 90, 32, 2e-3, 2e-2
SMOOTHING = 0.1
"""How much of a label's weight goes to all digits alike: a net that is never quite sure has small logits, and its
probabilities are not all rounding."""


def load_split() -> tuple[F32, I64, F32, I64]:
    """Training images and labels, then the held-out ones; images f32[n][1][8][8], pixels k/16 in 0..1."""
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, None]
    order = np.random.default_rng(SEED).permutation(len(images))
    held, kept = order[:HELD_OUT], order[HELD_OUT:]
    labels = digits.target.astype(np.int64)
    return images[kept], labels[kept], images[held], labels[held]


def columns(x: F32) -> F32:
    """The 3 x 3 neighbourhood of each pixel: f32[n][c][h][w] -> f32[n][h][w][c * 9], zeros outside."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.ascontiguousarray(windows.transpose(0, 2, 3, 1, 4, 5)).reshape(*x.shape[:1], *x.shape[2:], -1)


def pool(x: F32) -> tuple[F32, npt.NDArray[np.bool_]]:
    """2 x 2 maximum of f32[n][c][h][w], and the mask bool[n][c][h/2][2][w/2][2] of where each came from."""
    n, c, h, w = x.shape
    cells = x.reshape(n, c, h // 2, 2, w // 2, 2)
    best = cells.max(axis=(3, 5), keepdims=True)
    return best[:, :, :, 0, :, 0], cells == best


def forward(p: Params, x: F32) -> tuple[F32, list[tuple[F32, ...]]]:
    """Logits f32[n][10], and per layer what `backward` needs."""
    tape: list[tuple[F32, ...]] = []
    for layer in ("conv1", "conv2"):
        patches = columns(x)
        z = (patches @ p[layer + ".weight"].reshape(len(p[layer + ".bias"]), -1).T + p[layer + ".bias"]).transpose(
            0, 3, 1, 2
        )
        active = np.maximum(z, 0)
        pooled, mask = pool(active)
        tape.append((patches, z, mask.astype(np.float32)))
        x = pooled
    flat = x.reshape(len(x), -1)
    hidden = np.maximum(flat @ p["dense1.weight"].T + p["dense1.bias"], 0)
    tape.append((flat, hidden))
    return hidden @ p["dense2.weight"] + p["dense2.bias"], tape


def backward(p: Params, tape: list[tuple[F32, ...]], slope: F32) -> Params:
    """Gradients of the loss, from `slope` = d loss / d logits, f32[n][10]."""
    flat, hidden = tape[2]
    grads: Params = {"dense2.weight": hidden.T @ slope, "dense2.bias": slope.sum(0)}
    slope = (slope @ p["dense2.weight"].T) * (hidden > 0)
    grads |= {"dense1.weight": slope.T @ flat, "dense1.bias": slope.sum(0)}
    slope = slope @ p["dense1.weight"]
    for layer, (patches, z, mask) in zip(("conv2", "conv1"), (tape[1], tape[0]), strict=True):
        n, c, h, w = z.shape
        cells = slope.reshape(n, c, h // 2, 1, w // 2, 1) * mask
        slope = cells.reshape(z.shape) * (z > 0)
        rows = slope.transpose(0, 2, 3, 1).reshape(-1, c)
        weight = p[layer + ".weight"]
        grads[layer + ".weight"] = (rows.T @ patches.reshape(len(rows), -1)).reshape(weight.shape)
        grads[layer + ".bias"] = rows.sum(0)
        # The input's slope is a convolution with the kernel turned by half a turn.
        turned = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3).reshape(weight.shape[1], -1)
        slope = (columns(slope.astype(np.float32)) @ turned.T).transpose(0, 3, 1, 2)
    return grads


def initial(rng: np.random.Generator) -> Params:
    """He-initialised weights, zero biases."""
    a, b = CHANNELS
    shapes = {"conv1": (a, 1, 3, 3), "conv2": (b, a, 3, 3), "dense1": (HIDDEN, b * 4), "dense2": (HIDDEN, 10)}
    params: Params = {}
    for name, shape in shapes.items():
        fan_in = HIDDEN if name == "dense2" else int(np.prod(shape[1:]))
        params[name + ".weight"] = (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)
        params[name + ".bias"] = np.zeros(10 if name == "dense2" else shape[0], np.float32)
    return params


def shifted(x: F32, rng: np.random.Generator) -> F32:
    """Half of the images moved by one pixel up, down, left or right: more data for free."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    moves = np.array([(1, 1)] * 4 + [(0, 1), (2, 1), (1, 0), (1, 2)])[rng.integers(0, 8, len(x))]
    return np.stack([padded[i, :, dy : dy + 8, dx : dx + 8] for i, (dy, dx) in enumerate(moves)])


def train(images: F32, labels: I64) -> Params:
    """Adam with a cosine-shaped learning rate."""
    rng = np.random.default_rng(SEED)
    params = initial(rng)
    first = {k: np.zeros_like(v) for k, v in params.items()}
    second = {k: np.zeros_like(v) for k, v in params.items()}
    step, steps = 0, EPOCHS * (len(images) // BATCH)
    for _ in range(EPOCHS):
        order = rng.permutation(len(images))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            logits, tape = forward(params, shifted(images[chosen], rng))
            powers = np.exp(logits - logits.max(1, keepdims=True))
            slope = powers / powers.sum(1, keepdims=True)
            slope -= SMOOTHING / slope.shape[1]
            slope[np.arange(BATCH), labels[chosen]] -= 1 - SMOOTHING
            step += 1
            rate = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
            for key, grad in backward(params, tape, (slope / BATCH).astype(np.float32)).items():
                first[key] = 0.9 * first[key] + 0.1 * grad
                second[key] = 0.999 * second[key] + 0.001 * grad * grad
                move = first[key] / (1 - 0.9**step) / (np.sqrt(second[key] / (1 - 0.999**step)) + 1e-8)
                params[key] = (params[key] - rate * (move + WEIGHT_DECAY * params[key])).astype(np.float32)
    return params


def to_onnx(params: Params) -> onnx.ModelProto:
    """The trained network as ONNX, opset 17: image f32[1][1][8][8] -> probabilities f32[1][10]."""
    conv: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    halve: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    make = helper.make_node
    nodes = [
        make("Conv", ["image", "conv1.weight", "conv1.bias"], ["conv1"], name="conv1", **conv),
        make("Relu", ["conv1"], ["relu1"], name="relu1"),
        make("MaxPool", ["relu1"], ["pool1"], name="pool1", **halve),
        make("Conv", ["pool1", "conv2.weight", "conv2.bias"], ["conv2"], name="conv2", **conv),
        make("Relu", ["conv2"], ["relu2"], name="relu2"),
        make("MaxPool", ["relu2"], ["pool2"], name="pool2", **halve),
        make("Flatten", ["pool2"], ["flat"], name="flatten"),
        make("Gemm", ["flat", "dense1.weight", "dense1.bias"], ["dense1"], name="dense1", transB=1),
        make("Relu", ["dense1"], ["relu3"], name="relu3"),
        make("MatMul", ["relu3", "dense2.weight"], ["dense2"], name="dense2"),
        make("Add", ["dense2", "dense2.bias"], ["logits"], name="bias2"),
        make("Softmax", ["logits"], ["probabilities"], name="softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(value, name) for name, value in params.items()],
    )
    model = helper.make_model(graph, producer_name="opml-dispute", opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def export(params: Params, images: F32, labels: I64) -> dict[str, object]:
    """Writes the three files; what it returns is `digits.json`. Measured by running the written file."""
    MODELS.mkdir(parents=True, exist_ok=True)
    path = MODELS / "digits.onnx"
    path.write_bytes(to_onnx(params).SerializeToString(deterministic=True))
    np.savez_compressed(MODELS / "digits-samples.npz", images=images, labels=labels)
    session = onnxruntime.InferenceSession(path)
    guesses = [int(np.argmax(session.run(None, {"image": image[None]})[0])) for image in images]
    correct = sum(guess == label for guess, label in zip(guesses, labels, strict=True))
    facts: dict[str, object] = {
        "held_out": len(images),
        "correct": int(correct),
        "accuracy": round(correct / len(images), 4),
        "parameters": int(sum(v.size for v in params.values())),
        "size_bytes": path.stat().st_size,
        "runtime": f"onnxruntime {onnxruntime.__version__}",
    }
    (MODELS / "digits.json").write_text(json.dumps(facts, indent=2) + "\n")
    return facts


def main() -> None:
    train_images, train_labels, images, labels = load_split()
    print(json.dumps(export(train(train_images, train_labels), images, labels), indent=2))
