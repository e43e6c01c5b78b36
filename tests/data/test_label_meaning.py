"""What label names mean: the names that public sets and users really use."""

import pytest

from hilum.data.labels import default_positive, is_covid, is_healthy, order_labels, roles_sentence


def names(text):
    return text.split("; ")


COVID = names(
    "covid; infected/covid; COVID-19; COVID; Covid_19; covid19; Viral-COVID19; COVID-19 Pneumonia; "
    "SARS-CoV-2; sars_cov_2; SARSCoV2; COVID-Positive; COVID+; covid 2019; COVID-19, ARDS; 2019-nCoV; nCoV; "
    "coronavirus; Corona Virus Disease; CoV-19; Pneumonia/Viral/COVID-19; Covíd-19; pneumoniaCOVID; "
    "COVID-19/severe; covid/positive; COVID-19, no ARDS; COVID (PCR positive); no ARDS, COVID-19"
)
NOT_COVID = names(
    "non-covid; NonCOVID; non_covid19; COVID-negative; COVID19 Negative; no covid; not_covid; without covid; "
    "negative for COVID-19; no evidence of COVID-19; COVID (negative); COVID-; COVID (-); covid/negative; "
    "covid/normal; COVID_normal; covid controls; other than covid; covid_0; viral; Pneumonia/Viral/SARS; "
    "SARS; MERS-CoV; MERS coronavirus; coronary; non-covid/severe; normal; covid/bacterial; 1"
)
HEALTHY = names(
    "normal; Normal; NORMAL; normals; NoFinding; No_Findings; No Finding; no-finding; nofindings; control; "
    "Controls; healthy controls; Normal CXR; normal chest x-ray; healthy; negative; Nórmal; 0_normal; "
    "non-infected; uninfected; disease-free; no abnormalities; no acute findings; normal (adult); "
    "lungs/normal; NormalLung"
)
NOT_HEALTHY = names(
    "abnormal; not normal; non-normal; unhealthy; Normal-pressure; infected/normal; abnormal/control; "
    "finding; findings; 0; 1; no; covid; COVID-negative; covid/negative; no pneumonia; "
    "negative for pneumonia; No Lung Opacity / Not Normal; quality control; positive; chest x-ray; infected; "
    "; normal variant"
)


@pytest.mark.parametrize("label", COVID)
def test_names_of_covid(label):
    assert is_covid(label)
    assert not is_healthy(label)


@pytest.mark.parametrize("label", NOT_COVID)
def test_names_that_deny_covid_or_say_nothing_of_it(label):
    assert not is_covid(label)


@pytest.mark.parametrize("label", HEALTHY)
def test_names_of_healthy_labels(label):
    assert is_healthy(label)
    assert not is_covid(label)


@pytest.mark.parametrize("label", NOT_HEALTHY)
def test_names_that_are_not_healthy(label):
    assert not is_healthy(label)


def test_healthy_labels_come_first():
    assert order_labels(["b/x", "NoFinding", "a"]) == ("NoFinding", "a", "b/x")
    assert order_labels(["1", "0", "1"]) == ("0", "1")


def test_the_plainest_of_several_names_is_the_positive_label():
    assert default_positive(["normal", "COVID-19, ARDS", "COVID-19"]) == "COVID-19"
    assert default_positive(["Bacterial", "Normal", "Viral-COVID19", "Viral-Other"]) == "Viral-COVID19"
    assert default_positive(["0", "1"]) is None
    assert default_positive(["COVID-negative", "normal"]) is None


def test_what_is_known_of_the_labels_is_said_in_one_line():
    assert roles_sentence(("normal", "covid"), "covid", ["normal"]) == (
        "positive label: covid (must not be missed); healthy label: normal"
    )
    several = roles_sentence(("n", "COVID-19", "COVID-19, ARDS"), "COVID-19", ["n"])
    assert "COVID-19, ARDS names COVID-19, too" in several
    unknown = roles_sentence(("0", "1"), None, [])
    assert "(0, 1)" in unknown
    assert "--set protected=LABEL" in unknown
    assert "--set healthy=LABEL" in unknown
    assert "as the recipe says" in roles_sentence(("0", "1"), None, [], chosen=True)
