"""Dropout by hand: a network of two layers in NumPy, trained with vanilla and with inverted dropout.

Run it with ``python examples/numpy_two_layers.py``. Two things to look for:

- No mask is stored. The backward pass calls dropout on the gradient, with the seed of the forward pass.
- Vanilla dropout scales at test time, inverted dropout while training: one method in two units. Where the second layer
  starts 1 - p times as large and learns (1 - p)**2 times as fast, inverted dropout trains the very same network.
"""

import numpy as np

from thinned.data import load
from thinned.numpy import inverted_dropout, vanilla_dropout

P = 0.5
HIDDEN = 128
BATCH = 50
LEARNING_RATE = 0.5


def examples():
    """Handwritten digits where scikit-learn is installed, else ten overlapping clouds of points."""
    try:
        digits = load("digits")
        parts = [(part.inputs.reshape(len(part.inputs), -1), part.targets) for part in (digits.train, digits.test)]
    except ImportError:
        random = np.random.default_rng(0)
        labels = random.integers(0, 10, 1800)
        points = random.normal(size=(10, 64))[labels] + 2 * random.normal(size=(1800, 64))
        parts = [(points[:1440], labels[:1440]), (points[1440:], labels[1440:])]
    return [(x.astype(np.float64), y) for x, y in parts]


def initial(inputs, classes, gain):
    random = np.random.default_rng(1)
    return {
        "W1": random.normal(size=(inputs, HIDDEN)) * np.sqrt(2 / inputs),
        "b1": np.zeros(HIDDEN),
        "W2": random.normal(size=(HIDDEN, classes)) * np.sqrt(2 / HIDDEN) * gain,
        "b2": np.zeros(classes),
    }


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def loss_and_gradients(w, x, y, dropout, seed):
    """Forward and backward through input -> ReLU -> dropout -> softmax, for one mini-batch."""
    hidden = np.maximum(x @ w["W1"] + w["b1"], 0)
    thinned = dropout(hidden, P, seed=seed)
    chance = softmax(thinned @ w["W2"] + w["b2"])
    loss = -np.log(chance[np.arange(len(y)), y]).mean()

    d_logits = (chance - np.eye(chance.shape[1])[y]) / len(y)
    d_thinned = d_logits @ w["W2"].T
    d_hidden = dropout(d_thinned, P, seed=seed) * (hidden > 0)  # the same seed: the same mask, made again
    return loss, {
        "W1": x.T @ d_hidden,
        "b1": d_hidden.sum(axis=0),
        "W2": thinned.T @ d_logits,
        "b2": d_logits.sum(axis=0),
    }


def predict(w, x, dropout):
    hidden = np.maximum(x @ w["W1"] + w["b1"], 0)
    return softmax(dropout(hidden, P, training=False) @ w["W2"] + w["b2"])


def train(x, y, dropout, gain, epochs):
    """Plain SGD. `gain` is the unit of the second layer: 1 for vanilla dropout, 1 - P for inverted dropout."""
    w = initial(x.shape[1], y.max() + 1, gain)
    rates = {"W1": LEARNING_RATE, "b1": LEARNING_RATE, "W2": LEARNING_RATE * gain**2, "b2": LEARNING_RATE}
    order = np.random.default_rng(2)
    step = 0
    for _ in range(epochs):
        for batch in np.array_split(order.permutation(len(x)), len(x) // BATCH):
            _, gradients = loss_and_gradients(w, x[batch], y[batch], dropout, seed=step)  # a new mask for each step
            for name, gradient in gradients.items():
                w[name] -= rates[name] * gradient
            step += 1
    return w


def main(epochs=20):
    (x, y), (test_x, test_y) = examples()
    predictions = []
    for name, dropout, gain in [("vanilla", vanilla_dropout, 1), ("inverted", inverted_dropout, 1 - P)]:
        w = train(x, y, dropout, gain, epochs)
        predictions.append(predict(w, test_x, dropout))
        wrong = np.mean(predictions[-1].argmax(axis=1) != test_y)
        print(f"{name:8}  test error {wrong:.2%}")
    difference = np.abs(predictions[0] - predictions[1]).max()
    print(f"largest difference between the probabilities that the two predict: {difference:.1g}")


if __name__ == "__main__":
    main()
