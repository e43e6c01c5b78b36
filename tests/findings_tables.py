"""Tables of predictions of several findings an image, with blanks, uncertain cells and one useless finding."""

import numpy as np
import pandas as pd

FINDINGS = ["Effusion", "Cardiomegaly", "Nodule", "Pneumothorax"]


def findings_frame(images=600, seed=0, findings=FINDINGS, noise=1.0):
    """Two images a patient, whose findings go together; of a nodule the probability knows nothing."""
    generator = np.random.default_rng(seed)
    patient = np.arange(images) // 2
    common = generator.normal(size=images)[patient]
    table = {"path": [f"{i}.png" for i in range(images)], "patient_id": [f"p{i}" for i in patient]}
    stated = {}
    for name in findings:
        severity = common + generator.normal(size=images)
        seen = (0 if name == "Nodule" else 1.5) * severity + noise * generator.normal(size=images)
        stated[f"p:{name}"] = (1 / (1 + np.exp(1.5 - seen))).round(6)
        truth = (severity > 1).astype(float)
        missing = generator.random(images)
        truth[missing < 0.10] = np.nan
        truth[(missing >= 0.10) & (missing < 0.15)] = -1
        table[f"true:{name}"] = truth
    return pd.DataFrame(table | stated | {"sex": generator.choice(["F", "M"], images)})


def known(frame, name):
    """Truth and probability of the images where a finding is known."""
    rows = frame[f"true:{name}"].isin([0, 1])
    return frame.loc[rows, f"true:{name}"].to_numpy() == 1, frame.loc[rows, f"p:{name}"].to_numpy()
