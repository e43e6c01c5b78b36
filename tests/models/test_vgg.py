"""the original report's network, row by row against the table that its report prints (Fig. 3)."""

from pathlib import Path

import pytest
import torch
from torch import nn

from hilum.models.registry import build_network, summarise
from hilum.models.vgg import VGG16BN

PUBLISHED = [line.split("\t") for line in Path(__file__).with_name("seed_table.tsv").read_text().splitlines()]


@pytest.fixture(scope="module")
def summary():
    return summarise(build_network("vgg16-bn", n_labels=3, size=150), 150)


def test_all_51_rows_equal_the_published_table(summary):
    assert len(PUBLISHED) == 51
    assert [[row.name, str(list(row.output_shape)), f"{row.parameters:,}"] for row in summary.rows] == PUBLISHED


def test_totals_and_sizes_equal_the_published_ones(summary):
    assert summary.total_parameters == summary.trainable_parameters == 65_090_499
    sizes = (summary.input_mb, summary.forward_backward_mb, summary.parameters_mb, summary.total_mb)
    assert [f"{size:.2f}" for size in sizes] == ["0.09", "142.46", "248.30", "390.85"]
    assert "Total params: 65,090,499" in summary.to_text()


def test_it_ends_in_log_softmax_so_that_nll_is_cross_entropy_to_the_last_bit():
    torch.manual_seed(0)
    network = VGG16BN(3, size=32, width=0.05).eval()
    scores = []
    network.classifier[-1].register_forward_hook(lambda module, inputs, output: scores.append(output))
    output = network(torch.randn(8, 1, 32, 32))
    targets = torch.arange(8) % 3
    torch.testing.assert_close(output.exp().sum(dim=1), torch.ones(8))
    assert nn.NLLLoss()(output, targets).item() == nn.CrossEntropyLoss()(scores[0], targets).item()


def test_frozen_weights_are_counted_apart():
    network = VGG16BN(2, size=32, width=0.05)
    network.features.requires_grad_(False)
    summary = summarise(network, 32)
    assert summary.trainable_parameters == sum(p.numel() for p in network.classifier.parameters())


def test_summarising_changes_nothing():
    network = VGG16BN(3, size=32, width=0.05).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    summarise(network, 32)
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
