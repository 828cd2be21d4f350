"""What students learn: the divergence from whole distributions, without making them."""

import torch

from fedbits.labels.tokens.loss import divergence, spread


def drawn(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 7, 30, generator=generator)
    ids = torch.rand(3, 7, 30, generator=generator).topk(4).indices
    values = torch.rand(3, 7, 5, generator=generator) + 0.05
    values = values / values.sum(-1, keepdim=True)
    tail = torch.rand(30, generator=generator) + 0.01
    return logits, ids, values[..., :4], values[..., 4], tail / tail.sum()


def test_it_is_the_divergence_of_the_spread_distribution():
    logits, ids, values, rest, tail = drawn()
    whole = spread(ids.flatten(0, 1), values.flatten(0, 1), rest.flatten(), tail)
    assert torch.allclose(whole.sum(1), torch.ones(21))
    expected = (whole * (whole.log() - logits.flatten(0, 1).log_softmax(1))).sum(1)
    assert torch.allclose(divergence(logits, ids, values, rest, tail).flatten(), expected, atol=1e-5)


def test_it_is_zero_for_a_student_that_agrees_and_its_gradient_too():
    _, ids, values, rest, tail = drawn(1)
    whole = spread(ids.flatten(0, 1), values.flatten(0, 1), rest.flatten(), tail)
    logits = whole.log().view(3, 7, 30).requires_grad_()
    found = divergence(logits, ids, values, rest, tail)
    assert found.abs().max() < 1e-5
    found.sum().backward()
    assert logits.grad.abs().max() < 1e-5


def test_descent_leads_to_the_label():
    logits, ids, values, rest, tail = drawn(2)
    logits.requires_grad_()
    optimizer = torch.optim.Adam([logits], 0.1)
    for _ in range(200):
        loss = divergence(logits, ids, values, rest, tail).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.allclose(logits.softmax(-1).gather(-1, ids), values, atol=0.01)


def test_a_tail_that_lies_within_the_top_leaves_finite_numbers():
    ids, values = torch.tensor([[0, 1]]), torch.tensor([[0.6, 0.3]])
    tail = torch.tensor([0.5, 0.5 - 1e-9, 1e-9])
    assert divergence(torch.zeros(1, 3), ids, values, torch.tensor([0.1]), tail).isfinite().all()
