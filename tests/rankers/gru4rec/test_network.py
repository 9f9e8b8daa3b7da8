import math

import pytest
import torch

from rankers.gru4rec.network import GRU4Rec
from rankers.recurrent import NetworkConfig


def network(seed: int = 0, **shape: object) -> GRU4Rec:
    """A small float64 network with biases that are not 0."""
    torch.manual_seed(seed)
    built = GRU4Rec(NetworkConfig(**{"items": 30, "hidden": 8, **shape})).double()
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.dim() == 1:
                parameter.normal_(std=0.3)
    return built


def torch_cell(layer: torch.nn.Module, width: int) -> torch.nn.GRUCell:
    """PyTorch's cell with the same weights; its update gate is ours with the opposite sign: h' = (1−z)∘h̃ + z∘h."""
    hidden = layer.recurrent_weight.shape[0]
    cell = torch.nn.GRUCell(width, hidden).double()
    sign = torch.ones(3 * hidden, dtype=torch.float64)
    sign[hidden : 2 * hidden] = -1
    with torch.no_grad():
        cell.weight_ih.copy_((layer.input_weight * sign).T)
        cell.weight_hh.copy_((layer.recurrent_weight * sign).T)
        cell.bias_ih.copy_(layer.bias * sign)
        cell.bias_hh.zero_()
        cell.bias_hh[2 * hidden :] = layer.candidate_bias
    return cell


@pytest.mark.parametrize("layers", [1, 3])
def test_reset_after_is_pytorch_s_gru(layers: int) -> None:
    ours = network(layers=layers, input="embedding")
    cells = [torch_cell(layer, 8) for layer in ours.layers]
    state = ours.initial_state(5)
    states = [torch.zeros(5, 8, dtype=torch.float64) for _ in cells]
    for _ in range(4):
        items = torch.randint(0, 30, (5,))
        state = ours.step(items, state)
        x = ours.embedding[items]
        for number, cell in enumerate(cells):
            x = states[number] = cell(x, states[number])
        torch.testing.assert_close(state, torch.stack(states, dim=1))


def test_reset_before_is_the_paper_s_equation() -> None:
    ours = network(reset="before")
    layer = ours.layers[0]
    items, h = torch.tensor([3, 7]), torch.randn(2, 8, dtype=torch.float64)
    wr, wz, wh = layer.input_weight.split(8, dim=1)
    ur, uz, uh = layer.recurrent_weight.split(8, dim=1)
    br, bz, bh = layer.bias.split(8)
    x = ours.output_weight[items]
    r = torch.sigmoid(x @ wr + h @ ur + br)
    z = torch.sigmoid(x @ wz + h @ uz + bz)
    candidate = torch.tanh(x @ wh + (r * h) @ uh + bh)
    expected = (1 - z) * h + z * candidate
    torch.testing.assert_close(ours.step(items, h[:, None])[:, 0], expected)


def test_shared_input_is_the_output_row() -> None:
    shared, separate = network(input="shared"), network(input="embedding")
    separate.load_state_dict(shared.state_dict() | {"embedding": shared.output_weight})
    items = torch.tensor([1, 29, 1])
    torch.testing.assert_close(
        shared.step(items, shared.initial_state(3)), separate.step(items, separate.initial_state(3))
    )


def test_one_hot_input_is_a_dense_product_with_a_one_hot_vector() -> None:
    ours = network(input="one-hot")
    cell = network(input="embedding").layers[0]
    cell.load_state_dict(ours.layers[0].state_dict() | {"input_weight": cell.input_weight})
    cell.input_weight = torch.nn.Parameter(ours.embedding.detach())
    items, h = torch.tensor([4, 9]), torch.randn(2, 8, dtype=torch.float64)
    dense = torch.nn.functional.one_hot(items, 30).double()
    torch.testing.assert_close(ours.step(items, h[:, None])[:, 0], cell(dense, h))


def test_a_session_does_not_depend_on_the_others_of_its_batch() -> None:
    ours = network(layers=2)
    items, state = torch.randint(0, 30, (16,)), torch.randn(16, 2, 8, dtype=torch.float64)
    together = ours.step(items, state)
    for row in range(16):
        torch.testing.assert_close(ours.step(items[row : row + 1], state[row : row + 1])[0], together[row])


def test_scores_are_products_with_the_output_rows() -> None:
    ours = network()
    output = torch.randn(4, 8, dtype=torch.float64)
    rows = list(zip(ours.output_weight.detach(), ours.output_bias.detach(), strict=True))
    expected = [[float(h @ w + b) for w, b in rows] for h in output]
    torch.testing.assert_close(ours.scores(output), torch.tensor(expected, dtype=torch.float64))


def test_weights_start_uniform_with_the_fans_of_each_block() -> None:
    torch.manual_seed(0)
    ours = GRU4Rec(NetworkConfig(items=500, hidden=60, input="one-hot", layers=2))
    for tensor, fan_in, fan_out in [
        (ours.output_weight, 500, 60),
        (ours.embedding, 500, 60),
        (ours.layers[0].recurrent_weight, 60, 60),
        (ours.layers[1].input_weight, 60, 60),
    ]:
        bound = math.sqrt(6 / (fan_in + fan_out))
        assert 0.98 * bound < tensor.abs().max() <= bound
        assert tensor.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert not ours.output_bias.any()
    assert not ours.layers[0].bias.any()


def test_dropout_is_inverted_and_reaches_the_next_state() -> None:
    torch.manual_seed(0)
    ours = GRU4Rec(NetworkConfig(items=5, hidden=4000))
    x, state = ours.output_weight[:1], torch.randn(1, 1, 4000)
    whole = ours.advance(x, state)
    dropped = ours.advance(x, state, dropout_hidden=0.25)
    kept = dropped != 0
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.03)
    torch.testing.assert_close(dropped[kept], whole[kept] / 0.75)
    assert not torch.equal(ours.advance(x, state, dropout_input=0.5), whole)


@pytest.mark.parametrize(
    ("shape", "message"),
    [({"items": 0}, "items is 0"), ({"input": "dense"}, "input is 'dense'"), ({"reset": "never"}, "reset is 'never'")],
)
def test_a_config_that_cannot_be_built_is_refused(shape: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**{"items": 5, **shape})
