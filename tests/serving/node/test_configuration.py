"""A configuration that cannot work is one message that names the key; ports and folders are checked first."""

import logging
import os
import socket
from copy import deepcopy

import pytest
import tomli_w

from hilum.errors import UsageError
from hilum.serving.model_file import OF_CHILDREN, shipped_model
from hilum.serving.node.configuration import Rule, read_configuration
from hilum.serving.node.rules import ImageFacts, first_match, image_facts
from node_peers import DEPLOYED, image, settings

NOWHERE = {"name": "NOWHERE", "dicom": {"host": "127.0.0.1", "port": 9, "ae_title": "NOWHERE"}}


@pytest.fixture
def written(tmp_path):
    def write(change=lambda values: None, **more):
        values = deepcopy(settings(tmp_path, NOWHERE, **more))
        change(values)
        file = tmp_path / "node.toml"
        file.write_text(tomli_w.dumps(values))
        return file

    return write


def test_the_deployed_configuration_is_one(tmp_path):
    found = read_configuration(DEPLOYED / "node.toml")
    assert found.destination[0].dicom.port == 4242
    assert found.rule[0].refusals == "record"


def test_a_rule_names_a_file_or_a_model_that_comes_with_hilum(written, tmp_path):
    def model(name):
        return read_configuration(written(lambda values: values["rule"][0].update(model=name))).rule[0].model

    assert model(OF_CHILDREN) == str(shipped_model())
    assert model("hf://owner/name") == "hf://owner/name"
    assert model("model.onnx") == str(tmp_path / "model.onnx")
    (tmp_path / OF_CHILDREN).mkdir()
    assert model(OF_CHILDREN) == str(shipped_model())
    (tmp_path / OF_CHILDREN / "model.onnx").touch()
    assert model(OF_CHILDREN) == str(tmp_path / OF_CHILDREN)


WRONG = {
    "an unknown key": (lambda values: values["listen"].update(aetitle="X"), "listen.aetitle"),
    "an unknown table": (lambda values: values.update(lissen={}), "lissen"),
    "a port that is none": (lambda values: values["listen"].update(port=70000), "listen.port"),
    "a long AE title": (lambda values: values["listen"].update(ae_title="X" * 17), "listen.ae_title"),
    "nobody may call": (lambda values: values["listen"].update(calling=[]), "listen.calling"),
    "no rule": (lambda values: values.update(rule=[]), "rule"),
    "an unknown destination": (lambda values: values["rule"][0].update(destinations=["OTHER"]), "OTHER"),
    "two of one name": (lambda values: values.update(destination=[NOWHERE, NOWHERE]), "NOWHERE"),
    "both ways": (lambda values: values["destination"][0].update(web={"url": "http://x"}), "destination.1"),
    "no URL": (lambda values: values.update(source=[{"name": "a", "web": {"url": "x"}}]), "source.1.web.url"),
    "nothing comes": (lambda values: values.pop("listen"), "listen"),
    "half of TLS": (lambda values: values["listen"].update(tls={"key": "a"}), "listen.tls.certificate"),
    "rows before files": (lambda values: values.update(retention={"days": 9, "record_days": 1}), "record_days"),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_wrong_key_is_named(written, hilum, what):
    change, key = WRONG[what]
    file = written(change)
    with pytest.raises(UsageError) as raised:
        read_configuration(file)
    assert raised.value.code == "node-configuration"
    assert raised.value.path == file
    assert key in str(raised.value)
    result = hilum("node", "--config", file)
    assert result.returncode == 2


def test_no_toml_and_no_file(tmp_path):
    (tmp_path / "node.toml").write_text("folder = [")
    for name in ("node.toml", "absent.toml"):
        with pytest.raises(UsageError) as raised:
            read_configuration(tmp_path / name)
        assert raised.value.code == "node-configuration"


@pytest.mark.parametrize("table", ["listen", "operations"])
def test_a_port_in_use_ends_the_start_and_leaves_the_process_as_it_was(written, hilum, table):
    mask = os.umask(0o022)
    os.umask(mask)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = hilum("node", "--config", written(**{table: {"port": port}}))
    assert result.returncode == 2
    assert str(port) in result.stderr
    assert table in result.stderr
    assert os.umask(mask) == mask
    assert logging.root.manager.disable < logging.CRITICAL


def test_two_nodes_do_not_share_a_folder(written, hilum, running_node):
    result = hilum("node", "--config", written(lambda values: values.update(folder=str(running_node.folder / "state"))))
    assert result.returncode == 2
    assert "another node" in result.stderr


def test_status_before_the_first_start(written, hilum):
    for command in ("status", "retry"):
        result = hilum("node", command, "--config", written())
        assert result.returncode == 1
        assert "queue" in result.stderr


def test_the_first_rule_that_is_met_applies():
    def rule(name, **conditions):
        return Rule(name=name, destinations=["A"], **conditions)

    rules = [
        rule("children", oldest=15.9),
        rule("ward", station=["icu-1"], view=["AP"]),
        rule("frontal", view=["PA", "AP"], modality=["CR", "DX"]),
    ]

    def met(**facts):
        found = first_match(rules, ImageFacts(**facts))
        return found and found.name

    assert met(age=3.0, view="LL") == "children"
    assert met(age=40.0, view="AP", station="ICU-1", modality="DX") == "ward"
    assert met(view="AP", station="ICU-1") == "ward"
    assert met(age=40.0, view="AP", station="ER", modality="DX") == "frontal"
    assert met(view="PA", modality="OT") is None
    assert met(age=40.0, view="LL", modality="CR") is None
    assert first_match([rule("all")], ImageFacts()).name == "all"


def test_what_rules_ask_of_a_header():
    one = image(1, StationName="ER", PatientAge="006M", ViewPosition="LL")
    assert image_facts(one) == ImageFacts("CR", "LL", "ER", 0.5)
    two = image(1, ViewPosition=None, PatientBirthDate="19500615", StudyDate="20200614", Modality="DX")
    assert image_facts(two).age == pytest.approx(70, abs=0.01)
    assert image_facts(image(1, PatientBirthDate="unknown")).age is None
