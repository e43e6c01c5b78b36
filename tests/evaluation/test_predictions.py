"""predictions.csv, there and back."""

import numpy as np
import pytest

from hilum.errors import CheckpointError, RunError
from hilum.evaluation import predictions as predicting
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.predictions import Predictions, read_predictions


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
def test_damaged_files_are_refused(tmp_path, content):
    file = tmp_path / "predictions.csv"
    file.write_text(content)
    with pytest.raises(RunError, match=r"predictions\.csv.*hilum evaluate"):
        read_predictions(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunError, match=r"none\.csv"):
        read_predictions(tmp_path / "none.csv")


def test_a_network_whose_answers_are_no_numbers_is_not_evaluated(run_of, monkeypatch):
    run = run_of("flat")

    def broken(network, file):
        for values in network.state_dict().values():
            if values.is_floating_point():
                values.fill_(float("nan"))

    monkeypatch.setattr(predicting, "load_weights", broken)
    monkeypatch.setattr(predicting, "weights_sha256", lambda network: run.environment["weights_sha256"])
    with pytest.raises(CheckpointError, match=r"\.png: the network of .* no number"):
        evaluate(run)
