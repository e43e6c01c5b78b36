"""What label names mean: the names that public sets and users really use."""

import pytest

from hilum.data.labels import default_positive, is_covid, is_healthy, order_labels, roles_sentence


def names(text):
    return text.split("; ")


COVID = names(
    "covid; infected/covid; COVID-19; COVID; Covid_19; covid19; Viral-COVID19; COVID-19 Pneumonia; "
    "SARS-CoV-2; sars_cov_2; SARSCoV2; COVID-Positive; COVID+; covid 2019; COVID-19, ARDS; 2019-nCoV; nCoV; "
    "coronavirus; Corona Virus Disease; CoV-19; Pneumonia/Viral/COVID-19; Covíd-19; pneumoniaCOVID; "
    "COVID-19/severe; covid/positive; COVID-19, no ARDS; COVID (PCR positive); no ARDS, COVID-19; "
    "COVID positivo; COVID positif; COVID19_Positiv; COVID_P; covid_y; COVID PCR positive; covid_test_positive; "
    "COVID Oui; covid: oui; covid T; covid presente; covid/pneumonia; COVID-19/PA; covid/icu; covid/bilateral; "
    "non-severe COVID; covid/non-ICU; RSV neg COVID pos; COVID +ve; COVID阳性; covid/1"
)
NOT_COVID = names(
    "non-covid; NonCOVID; non_covid19; COVID-negative; COVID19 Negative; no covid; not_covid; without covid; "
    "negative for COVID-19; no evidence of COVID-19; COVID (negative); COVID-; COVID (-); covid/negative; "
    "covid/normal; COVID_normal; covid controls; other than covid; covid_0; viral; Pneumonia/Viral/SARS; "
    "SARS; MERS-CoV; MERS coronavirus; coronary; non-covid/severe; normal; covid/bacterial; 1; "
    "COVID negativo; COVID négatif; COVID19_Negativ; COVID_N; covid_n; COVID PCR negative; Covid patient negative; "
    "covid_test_negative; COVID Non; covid: non; covid ausente; COVID absent; COVID not detected; COVID undetected; "
    "COVID ruled out; COVID-19 (-ve); COVID −; COVID-19 pneumonia negative; Normal (after COVID); no typical covid; "
    "not confirmed covid; nicht COVID; não COVID; pas de COVID; geen COVID; 非COVID; pre-COVID; COVID, negative; "
    "covid/no; covid/0; covid/n; covid/not detected; covid/no pneumonia; covid/viral; covid/controls; COVID阴性; "
    "COVID excluded; not covid positive; COVID not confirmed; other/pneumonia"
)
HEALTHY = names(
    "normal; Normal; NORMAL; normals; NoFinding; No_Findings; No Finding; no-finding; nofindings; control; "
    "Controls; healthy controls; Normal CXR; normal chest x-ray; healthy; negative; Nórmal; 0_normal; "
    "non-infected; uninfected; disease-free; no abnormalities; no acute findings; normal (adult); "
    "lungs/normal; NormalLung; Normal (no COVID); healthy volunteers; within normal limits; Normalbefund; sano; sain; "
    "gesund; cases/control; images/negative; tb/healthy"
)
NOT_HEALTHY = names(
    "abnormal; not normal; non-normal; unhealthy; Normal-pressure; infected/normal; abnormal/control; "
    "finding; findings; 0; 1; no; covid; COVID-negative; covid/negative; no pneumonia; "
    "negative for pneumonia; No Lung Opacity / Not Normal; quality control; positive; chest x-ray; infected; "
    "; normal variant; tb/negative; pneumonia/negative; tuberculosis/control; no covid; volunteers; Normal (COVID)"
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


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        ("COVID negativo; COVID positivo; sano", "COVID positivo"),
        ("COVID négatif; COVID positif", "COVID positif"),
        ("COVID19_Negativ; COVID19_Positiv", "COVID19_Positiv"),
        ("COVID_N; COVID_P", "COVID_P"),
        ("covid_n; covid_y", "covid_y"),
        ("COVID Non; COVID Oui", "COVID Oui"),
        ("covid F; covid T", "covid T"),
        ("covid ausente; covid presente", "covid presente"),
        ("covid/0; covid/1", "covid/1"),
        ("covid/no; covid/yes", "covid/yes"),
        ("covid_a; covid_b", None),
        ("covid F; covid M", None),
        ("covid/icu; covid/pneumonia; normal", "covid/icu"),
    ],
)
def test_of_two_answers_the_affirming_one_is_positive_and_none_is_guessed(labels, positive):
    assert default_positive(names(labels)) == positive
    assert default_positive(reversed(names(labels))) == positive


def test_what_is_known_of_the_labels_is_said_in_one_line(snapshot):
    assert roles_sentence(("normal", "covid"), "covid", ["normal"]) == (
        "positive label: covid (must not be missed); healthy label: normal"
    )
    several = roles_sentence(("n", "COVID-19", "COVID-19, ARDS"), "COVID-19", ["n"])
    assert "COVID-19, ARDS names COVID-19, too" in several
    pair = roles_sentence(("covid F", "covid T"), "covid T", [])
    assert "counted separately" not in pair
    unknown = roles_sentence(("0", "1"), None, [])
    assert "(0, 1)" in unknown
    assert "--set positive_label=LABEL" in unknown
    assert "--set healthy=LABEL" in unknown
    snapshot(roles_sentence(("0", "1"), None, [], chosen=True))
