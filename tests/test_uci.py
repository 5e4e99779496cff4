"""The benchmark on the UCI tables: its splits, its batched training, its scores, and how it goes on after a stop."""

import json
import math

import numpy as np
import pytest
import torch

import thinned
from benchmarks import uci


@pytest.mark.parametrize("n", [308, 1030])
def test_splits_are_the_published_ones(n):
    np.random.seed(1)  # noqa: NPY002 - as the published splits were made
    for train, test in uci.splits(n):
        order = np.random.choice(range(n), n, replace=False)  # noqa: NPY002
        assert np.array_equal(np.concatenate([train, test]), order)
        assert len(train) == round(0.9 * n)
    assert len(uci.splits(n)) == 20


def test_together_is_as_alone():
    """Each of three networks, trained beside the others, against torch's own layers and Adam under the same masks."""
    count, rows, features, p, epochs = 3, 150, 4, 0.3, 3  # 150 rows: a whole batch and a part of one
    torch.manual_seed(5)
    x, y = torch.randn(count, rows, features, dtype=torch.float64), torch.randn(count, rows, dtype=torch.float64)
    precision = torch.tensor([1e-5, 1e-4, 0.5], dtype=torch.float64)  # so small that the weight decay is seen
    networks = uci.Networks(count, features, p, torch.float64)
    alone = [networks.one(i) for i in range(count)]
    torch.manual_seed(6)
    for epoch in networks.fit(x, y, precision):
        if epoch == epochs:
            break
    for i, model in enumerate(alone):
        torch.manual_seed(6)
        weights, biases = (model[1].weight, model[4].weight), (model[1].bias, model[4].bias)
        decay = 2 * 0.01**2 * (1 - p) / (2 * rows * precision[i].item())  # Adam adds decay * w to the gradient
        groups = [{"params": weights, "weight_decay": decay}, {"params": biases}]
        optimizer = torch.optim.Adam(groups, lr=1e-3)
        for _ in range(epochs):
            order = torch.randperm(rows)
            for batch in order.split(128):
                masks = [thinned.dropout(torch.ones(count, len(batch), n).double(), p)[i] for n in (features, 50)]
                hidden = model[2](model[1](x[i, batch] * masks[0]))
                optimizer.zero_grad()
                torch.nn.functional.mse_loss(model[4](hidden * masks[1]).squeeze(1), y[i, batch]).backward()
                optimizer.step()
        trained = networks.one(i).state_dict()
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(trained[name], tensor, rtol=1e-9, atol=1e-12)


def test_one_of_the_networks_and_its_passes():
    torch.manual_seed(0)
    networks = uci.Networks(2, 3, 0.0)
    for bias in networks.biases:
        bias.normal_()
    x = torch.randn(2, 7, 3)
    with torch.no_grad():
        alone = torch.stack([networks.one(i).eval()(x[i]).squeeze(1) for i in range(2)])
    torch.testing.assert_close(networks(x), alone)
    torch.testing.assert_close(
        networks.draw(x, 60, at_once=25), alone.expand(60, 2, 7)
    )  # 60: the last block is smaller
    networks.p = 0.5
    assert networks.draw(x, 60).var(0).min() > 0


def test_scores():
    draws = torch.tensor([[[1.0, 2.0]], [[3.0, 2.0]]], dtype=torch.float64)  # two passes, one network, two rows
    target = torch.tensor([[2.0, 2.0]], dtype=torch.float64)
    height = math.sqrt(4 / (2 * math.pi))  # of the normal density with precision 4
    expected = (math.log(height * math.exp(-2)) + math.log(height)) / 2
    assert uci.log_likelihood(draws, target, torch.tensor([4.0])).item() == pytest.approx(expected, rel=1e-12)
    assert uci.rmse(target + torch.tensor([3.0, 4.0]), target) == pytest.approx(math.sqrt(12.5))


def test_standardised_by_the_rows_to_train_on():
    table = np.array([[1.0, 5.0, 10.0], [3.0, 5.0, 30.0], [5.0, 5.0, 70.0]])
    part = uci.Part(table, [(np.array([0, 1]), np.array([2]))])
    assert (part.x.tolist(), part.y.tolist()) == ([[[-1.0, 0.0], [1.0, 0.0]]], [[-1.0, 1.0]])
    assert (part.new_x.tolist(), part.new_y.tolist()) == ([[[3.0, 0.0]]], [[70.0]])
    assert part.unit(torch.tensor([[5.0]])).tolist() == [[70.0]]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_the_command_goes_on_where_it_stopped(tmp_path, capsys, monkeypatch):
    random = np.random.default_rng(0)
    (tmp_path / "yacht").mkdir()
    np.savetxt(tmp_path / "yacht" / "data.txt", random.normal(size=(40, 3)))
    monkeypatch.setattr(uci, "SPLITS", 4)
    monkeypatch.setattr(uci, "RATES", (0.01, 0.1))
    out = tmp_path / "out.jsonl"
    arguments = ["yacht", "--data", str(tmp_path), "--epochs", "301", "1", "300", "--passes", "20", "--out", str(out)]
    uci.main(arguments)
    whole, table = out.read_text(encoding="utf-8"), capsys.readouterr().out
    records = [json.loads(line) for line in whole.splitlines()]
    tests = [record for record in records if record["kind"] == "test"]
    assert sorted(record["split"] for record in tests) == list(range(4))
    assert f"| yacht | {np.mean([record['rmse'] for record in tests]):.3f} ± " in table

    validations = [record for record in records if record["kind"] == "validation"]
    scores = {record["p"]: np.array(record["log_likelihood"]) for record in validations}
    for record in tests:  # the best of all candidates was chosen
        setting = uci.PRECISIONS["yacht"].index(record["precision"]), [1, 300, 301].index(record["chosen_epochs"])
        best = max(found[record["split"]].max() for found in scores.values())
        assert scores[record["p"]][record["split"]][setting] == best

    for record in validations:  # ended where the likelihood fell, or with the last candidate
        rises = np.diff(scores[record["p"]].max(1).mean(0)) >= 0
        assert rises[:-1].all()
        assert record["tried_epochs"] == [1, 300, 301][: len(rises) + 1]
        assert rises[-1] == (len(rises) == 2)

    for done in (2, len(records)):
        out.write_text("".join(line + "\n" for line in whole.splitlines()[:done]), encoding="utf-8")
        uci.main(arguments)
        assert (out.read_text(encoding="utf-8"), capsys.readouterr().out) == (whole, table)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["boston"], "NAME must be one of yacht, energy, concrete, wine-quality-red, but got boston."),
        (["yacht"], "--data must be the folder with NAME/data.txt in it, but there is no "),
        (["--epochs", "0"], "must be a positive whole number, but got 0."),
    ],
)
def test_bad_arguments(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        uci.main([*arguments, "--data", str(tmp_path)])
    assert message in capsys.readouterr().err
