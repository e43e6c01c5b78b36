"""predictions.csv, there and back."""

import random

import numpy as np
import pytest

from hilum.errors import CheckpointError, RunError
from hilum.evaluation import inference as predicting
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.predictions import Predictions, read_predictions
from hilum.evaluation.schema import FileFacts
from hilum.files import as_bytes, saving_together

pytestmark = pytest.mark.usefixtures("small_evaluation")


def test_what_was_written_is_read(tmp_path):
    generator = np.random.default_rng(0)
    written = Predictions(
        labels=("normal", "infected/covid", "a, b"),
        paths=tuple(f"x/{i}é\udce9.png" for i in range(50)),
        patients=tuple(str(i // 2) if i % 5 else "" for i in range(50)),
        truth=generator.integers(0, 3, 50),
        probabilities=generator.dirichlet(np.ones(3), 50),
    )
    written.write(tmp_path / "predictions.csv")
    read = read_predictions(tmp_path / "predictions.csv")
    assert (read.labels, read.paths, read.patients) == (written.labels, written.paths, written.patients)
    assert (read.truth == written.truth).all()
    np.testing.assert_allclose(read.probabilities, written.probabilities, atol=1e-8)
    assert (read.predicted == written.predicted).all()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "path,label\n",
        "path,patient_id,label,predicted,p:a\nx.png,,a,a,many\n",
        "path,patient_id,label,predicted,p:a\nx.png,,b,a,1\n",
        "path,patient_id,label,predicted,p:a,p:b\nx.png,,a,a,1\n",
        "path,patient_id,label,predicted,p:a,p:b\nx.png,,a,a,nan,nan\n",
        "path,patient_id,label,predicted,p:a,p:b\nx.png,,a,a,-0.5,1.5\n",
        "path,patient_id,label,predicted,p:a,p:b\nx.png,,a,a,0.5,0.4\n",
    ],
)
def test_damaged_files_are_refused(tmp_path, content, refuses):
    file = tmp_path / "predictions.csv"
    file.write_text(content)
    with refuses(RunError, "damaged-predictions"):
        read_predictions(file)


def test_a_missing_file_is_named(tmp_path, refuses):
    with refuses(RunError, "damaged-predictions"):
        read_predictions(tmp_path / "none.csv")


def test_a_network_whose_answers_are_no_numbers_is_not_evaluated(run_of, monkeypatch, refuses):
    run = run_of("flat")
    evaluate(run)  # what is fitted to other images is kept: the message is about those of the test

    def broken(network, file):
        for values in network.state_dict().values():
            if values.is_floating_point():
                values.fill_(float("nan"))

    monkeypatch.setattr(predicting, "load_weights", broken)
    monkeypatch.setattr(predicting, "weights_sha256", lambda network: run.environment.weights_sha256)
    with refuses(CheckpointError, "not-a-number"):
        evaluate(run)


def written_beside(folder, count=24, seed=0):
    """A table and the metrics that speak of it; another seed gives another table."""
    generator = np.random.default_rng(seed)
    written = Predictions(
        labels=("normal", "infected/covid"),
        paths=tuple(f"{i}.png" for i in range(count)),
        patients=tuple(f"p{i:05d}" for i in range(count)),
        truth=generator.integers(0, 2, count),
        probabilities=generator.dirichlet(np.ones(2), count),
    )
    table = written.to_csv()
    with saving_together(folder) as save:
        save("predictions.csv", table)
        save("metrics.json", as_bytes({"files": {"predictions.csv": FileFacts.of(table, count).as_json()}}))
    return table


def test_500_cuts_are_refused_where_the_metrics_know_the_table(tmp_path, refuses):
    table = written_beside(tmp_path)
    file = tmp_path / "predictions.csv"
    assert len(read_predictions(file).paths) == 24
    for cut in random.Random(0).sample(range(len(table)), 500):
        file.write_bytes(table[:cut])
        with refuses(RunError, "damaged-predictions"):
            read_predictions(file)


def test_a_table_of_another_evaluation_is_found(tmp_path, refuses):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    written_beside(tmp_path / "a")
    written_beside(tmp_path / "b", seed=1)
    (tmp_path / "b" / "predictions.csv").replace(tmp_path / "a" / "predictions.csv")
    with refuses(RunError, "damaged-predictions"):
        read_predictions(tmp_path / "a" / "predictions.csv")


@pytest.mark.parametrize("metrics", ["{}", '{"files": null}', '{"files": {}}', '{"files": [1]}', "no json"])
def test_results_of_versions_before_say_nothing_of_it_and_are_read(tmp_path, metrics):
    written_beside(tmp_path)
    (tmp_path / "metrics.json").write_text(metrics)
    assert len(read_predictions(tmp_path / "predictions.csv").paths) == 24


def test_no_cell_is_a_formula_and_all_are_read_back(tmp_path):
    written = Predictions(("=a", "+b"), ("@x.png", "'=y.png"), ("-1", ""), np.array([0, 1]), np.full((2, 2), 0.5))
    written.write(tmp_path / "predictions.csv")
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert lines[1:] == ["'@x.png,'-1,'=a,'=a,0.50000000,0.50000000", "''=y.png,,'+b,'=a,0.50000000,0.50000000"]
    read = read_predictions(tmp_path / "predictions.csv")
    assert (read.labels, read.paths, read.patients) == (written.labels, written.paths, written.patients)
    assert read.truth.tolist() == [0, 1]
