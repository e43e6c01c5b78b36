"""Public datasets that folders and file names describe, in trees named as their publishers name them."""

import pytest

from hilum.data.options import ReadOptions
from hilum.data.readers.public.known_layouts import layout_of
from hilum.errors import TableError

NAMES = {
    "train/NORMAL": ["IM-0115-0001.jpeg", "NORMAL2-IM-0501-0001.jpeg", "NORMAL2-IM-0501-0001-0002.jpeg"],
    "train/PNEUMONIA": ["person1_bacteria_1.jpeg", "person1_bacteria_2.jpeg", "person7_virus_15.jpeg"],
    "test/NORMAL": ["IM-0001-0001.jpeg"],
    "test/PNEUMONIA": ["person1_virus_6.jpeg", "person78_bacteria_378.jpeg"],
    "val/NORMAL": ["NORMAL2-IM-1427-0001.jpeg"],
    "val/PNEUMONIA": ["person1946_bacteria_4874.jpeg"],
}


def kermany(above):
    return {f"{above}{folder}/{name}": None for folder, names in NAMES.items() for name in names}


@pytest.mark.parametrize("above", ["chest_xray/", "", "ZhangLabData/CellData/chest_xray/"])
def test_kermanys_patients_and_etiologies_are_read_from_file_names(tree, read, above):
    files = {
        path: None for path in kermany(above) if above != "ZhangLabData/CellData/chest_xray/" or "/val/" not in path
    }
    table = read(tree(files))
    assert table.layout == table.options.layout == "kermany"
    assert table.labels == ("normal", "pneumonia")
    found = {row.path.rpartition("/")[2]: row for row in table.rows}
    assert len(found) == len(files)
    assert found["person1_bacteria_2.jpeg"].patient_id == found["person1_bacteria_1.jpeg"].patient_id
    assert found["person1_virus_6.jpeg"].patient_id != found["person1_bacteria_1.jpeg"].patient_id
    assert found["NORMAL2-IM-0501-0001-0002.jpeg"].patient_id == "NORMAL2-IM-0501"
    assert found["person7_virus_15.jpeg"].extra["etiology"] == "viral"
    assert found["person78_bacteria_378.jpeg"].split == "test"


def test_kaggles_repeated_folder_and_what_a_mac_leaves_count_once(tree, read):
    files = kermany("chest_xray/") | kermany("chest_xray/chest_xray/")
    root = tree(files | {f"chest_xray/__MACOSX/{name}": b"x" for name in ("._a.jpeg",)})
    assert len(read(root)) == len(kermany(""))


def test_the_etiology_is_the_label_on_request(tree, read):
    table = read(tree(kermany("")), layout="kermany", label_column="etiology")
    assert table.labels == ("normal", "bacterial", "viral")


def test_plain_reads_the_folders_as_they_are_named(tree, read):
    table = read(tree(kermany("")), layout="plain")
    assert (table.layout, table.labels) == ("", ("NORMAL", "PNEUMONIA"))


def test_labels_are_renamed_and_left_out_as_the_user_says(tree, read):
    files = {
        f"COVID-19_Radiography_Dataset/{kind}/images/{kind}-{n}.png": None
        for kind in ("COVID", "Normal", "Lung_Opacity", "Viral Pneumonia")
        for n in (1, 2)
    }
    files |= {path.replace("/images/", "/masks/"): None for path in files}
    root = tree(files)
    table = read(root)
    assert table.layout == "radiography"
    assert table.counts() == {("", label): 2 for label in ("COVID-19", "normal", "lung opacity", "viral pneumonia")}
    mapped = read(root, label_map=(("viral pneumonia", ""), ("lung opacity", "COVID-19")))
    assert mapped.counts() == {("", "COVID-19"): 4, ("", "normal"): 2}
    with pytest.raises(TableError) as refused:
        read(root, label_map=(("virus", ""),))
    assert refused.value.code == "no-such-label"


def test_covid_qu_ex_without_masks_and_repetitions(tree, read):
    kinds = {"COVID-19": "covid_{}.png", "Non-COVID": "non_COVID ({}).png", "Normal": "Normal ({}).png"}
    files = {}
    for number, split in enumerate(("Train", "Val", "Test")):
        for kind, name in kinds.items():
            for part in ("Lung", "Infection"):
                above = f"{part} Segmentation Data/{part} Segmentation Data/{split}/{kind}"
                files |= {f"{above}/{inside}/{name.format(number)}": None for inside in ("images", "lung masks")}
    table = read(tree(files))
    assert table.layout == "covid-qu-ex"
    assert len(table) == 9
    assert table.splits == ("train", "val", "test")
    assert all(row.path.startswith("Lung") and "/images/" in row.path for row in table.rows)


def test_darkcovidnets_repository(tree, read):
    files = {"Dataset/Covid-19/1-s2.0-S0140673620303706-fx1_lrg.jpg": None, "DarkCovidNet.ipynb": "{}"}
    files |= {f"Dataset/No_findings/0000128{n}_004.png": None for n in range(3)}
    files |= {f"Dataset/Pneumonia/0000129{n}_000.png": None for n in range(3)}
    table = read(tree(files))
    assert table.layout == "darkcovidnet"
    assert table.values("label") == {"covid": 1, "normal": 3, "non-covid": 3}
    assert next(row for row in table.rows if "00001280" in row.path).patient_id == "nih-00001280"


@pytest.mark.parametrize(
    ("name", "prefix", "reading"),
    [
        ("shenzhen", "CHNCXR", "male 45yrs\nnormal\n"),
        ("montgomery", "MCUCXR", "Patient's Sex: M\nPatient's Age: 045Y\nnormal"),
    ],
)
def test_tuberculosis_sets(tree, read, name, prefix, reading):
    files = {f"CXR_png/{prefix}_000{n}_{n % 2}.png": None for n in range(4)}
    files |= {f"ClinicalReadings/{prefix}_000{n}_{n % 2}.txt": reading for n in range(4)}
    table = read(tree(files))
    assert table.layout == name
    assert table.values("label") == {"normal": 2, "tuberculosis": 2}
    assert {(row.extra["sex"], row.extra["age"]) for row in table.rows} == {("M", "45")}


def test_both_tuberculosis_sets_in_one_folder_are_two_sources(tree, read):
    names = [f"{prefix}_000{n}_{n % 2}.png" for prefix in ("CHNCXR", "MCUCXR") for n in range(4)]
    table = read(tree({f"CXR_png/{name}": None for name in names}))
    assert table.values("source") == {"shenzhen": 4, "montgomery": 4}


def test_a_folder_of_several_datasets_is_none_of_them(tree, read):
    files = kermany("kermany/") | {f"mine/{label}/{n}.png": None for label in ("ill", "well") for n in range(9)}
    files |= {"nih/Data_Entry_2017.csv": "Image Index,Finding Labels,Patient ID,View Position\n", "nih/a.png": None}
    root = tree(files)
    assert layout_of(root, ReadOptions()) is None
    assert read(root / "kermany").layout == "kermany"


def test_the_part_of_covid_qu_ex_for_infections_alone(tree, read):
    kinds = ("COVID-19", "Normal")
    above = "Infection Segmentation Data/Infection Segmentation Data/Train"
    table = read(
        tree(
            {
                f"{above}/{kind}/{inside}/{n}.png": None
                for kind in kinds
                for n in range(2)
                for inside in ("images", "lung masks")
            }
        )
    )
    assert (table.layout, len(table)) == ("covid-qu-ex", 4)


def test_class_folders_are_no_public_dataset(tree, read):
    files = {
        f"{split}/{label}/{n}.png": None
        for split in ("train", "test")
        for label in ("NORMAL", "PNEUMONIA")
        for n in range(3)
    }
    root = tree(files)
    table = read(root)
    assert (table.layout, table.labels) == ("", ("NORMAL", "PNEUMONIA"))
    assert layout_of(root, table.options) is None


def test_the_real_datasets_are_recognised(seed_cxr, read):
    table = read(seed_cxr)
    assert (table.layout, len(table), table.labels[1]) == ("kermany-150", 5856, "infected/covid")
    table = read(seed_cxr.parent / "darkcovidnet")
    assert (table.layout, len(table)) == ("darkcovidnet", 1124)
