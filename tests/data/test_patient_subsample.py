"""Which images are drawn of very many: all of few, whole patients, labels' shares, and enough of the rare."""

from collections import Counter

import numpy as np

from hilum.data.splits import MIN_PATIENTS, PatientSample


def many(n=20_000, a_patient=4, rare=0.002, seed=0):
    generator = np.random.default_rng(seed)
    patients = n // a_patient
    of_rare = generator.random(patients) < rare
    labels = np.where(of_rare, "rare", np.where(generator.random(patients) < 0.25, "fourth", "rest"))
    return [(str(labels[i // a_patient]), f"p{i // a_patient}") for i in range(n)]


def test_few_are_all_drawn():
    images = many(400)
    lot = PatientSample.of(images, 400)
    assert all(lot.holds(*image) for image in images)


def test_labels_keep_their_shares_and_patients_their_images():
    images = many(rare=0)
    lot = PatientSample.of(iter(images), 2000)
    drawn = [image for image in images if lot.holds(*image)]
    assert abs(len(drawn) - 2000) < 200
    assert abs(np.mean([label == "fourth" for label, _ in drawn]) - 0.25) < 0.05
    assert set(Counter(patient for _, patient in drawn).values()) == {4}
    again = PatientSample.of(images[::-1], 2000)
    assert drawn == [image for image in images if again.holds(*image)]  # the same ones every time


def test_a_rare_label_is_not_lost():
    images = many()
    there = sum(label == "rare" for label, _ in images)
    lot = PatientSample.of(images, 2000)
    drawn = Counter(label for label, patient in images if lot.holds(label, patient))
    assert 20 < there < 80  # 0.2 % of 2,000 would be four of them
    assert drawn["rare"] == there


def test_few_patients_with_many_images_are_not_lost():
    images = [("one", f"p{i % 40}") for i in range(40_000)]
    lot = PatientSample.of(images, 100)
    assert len({patient for label, patient in images if lot.holds(label, patient)}) == MIN_PATIENTS
