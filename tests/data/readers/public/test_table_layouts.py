"""Public datasets that tables describe, with the columns as published and a few rows."""

import pytest

from hilum.errors import TableError, UsageError

IEEE8023 = (
    "patientid,offset,sex,age,finding,RT_PCR_positive,survival,view,modality,date,location,folder,filename,doi,url,\n"
    '2,0,M,65,Pneumonia/Viral/COVID-19,Y,Y,PA,X-ray,"January 22, 2020","Cho Ray Hospital, Vietnam",images,a.jpeg,,,\n'
    '2,3,M,65,Pneumonia/Viral/COVID-19,Y,Y,L,X-ray,"January 25, 2020","Cho Ray Hospital, Vietnam",images,b.jpeg,,,\n'
    "3,9,F,74,Pneumonia/Viral/SARS,,N,AP,X-ray,2004,Toronto,images,c.png,,,\n"
    "4,0,,,No Finding,,,AP Supine,X-ray,2019,Toronto,images,d.png,,,\n"
    "5,0,,,Pneumonia/Viral/COVID-19,Y,,Axial,CT,2020,Rome,volumes,e.nii.gz,,,\n"
    "6,0,,,todo,,,PA,X-ray,2020,Rome,images,f.png,,,\n"
)
IEEE8023_FILES = {f"images/{name}": None for name in ("a.jpeg", "b.jpeg", "c.png", "d.png", "f.png")}


def test_ieee8023_without_ct_lateral_views_and_images_to_do(tree, read):
    table = read(tree({"metadata.csv": IEEE8023, **IEEE8023_FILES}))
    assert table.layout == "ieee8023"
    assert table.values("label") == {"Pneumonia/Viral/COVID-19": 1, "Pneumonia/Viral/SARS": 1, "no finding": 1}
    first = next(row for row in table.rows if row.path == "images/a.jpeg")
    assert (first.patient_id, first.source, first.extra["view"], first.extra["age"]) == (
        "2",
        "Cho Ray Hospital, Vietnam",
        "PA",
        "65",
    )
    assert "left out: 1 CT, 1 lateral, 1 no label" in table.notes[0]


def test_the_table_itself_may_be_given(tree, read):
    root = tree({"metadata.csv": IEEE8023, **IEEE8023_FILES})
    assert read(root / "metadata.csv").rows == read(root).rows


def test_another_table_beside_it_is_read_as_it_is(tree, read):
    cleaned = "path,label\nimages/a.jpeg,x\nimages/c.png,y\n"
    root = tree({"metadata.csv": IEEE8023, "cleaned.csv": cleaned, **IEEE8023_FILES})
    table = read(root / "cleaned.csv")
    assert (table.layout, table.labels, len(table)) == ("", ("x", "y"), 2)


def test_columns_that_the_user_names_make_it_a_plain_table(tree, read):
    root = tree({"metadata.csv": IEEE8023, **IEEE8023_FILES})
    table = read(root / "metadata.csv", label_column="survival")
    assert (table.layout, table.labels) == ("", ("N", "Y"))


def test_actualmed_and_figure1_have_other_columns(tree, read):
    head = "patientid,offset,sex,age,finding,survival,temperature,pO2 saturation,view,modality,"
    actualmed = (
        head
        + "imagename,artifacts/distortion,notes\n"
        + "".join(
            f'ANON{n},,,,{finding},,,,AP,X-ray,CR.{n}.png,,", date taken (YYYYMMDD): 20200318"\n'
            for n, finding in enumerate(("COVID-19", "COVID-19", "No finding", ""))
        )
    )
    figure1 = (
        head
        + "artifacts/distortion,notes\n"
        + "".join(f"COVID-0000{n},,,,{finding},,,,PA,X-ray,,\n" for n, finding in enumerate(("COVID-19", "No finding")))
        + 'COVID-00039a,10,F,77,COVID-19,,,80,AP erect,X-ray,,"77F, intubated"\n'
        + "COVID-00039b,10,F,77,COVID-19,,,80,,X-ray,,\n"
    )
    root = tree(
        {"a/metadata.csv": actualmed, **{f"a/images/CR.{n}.png": None for n in range(4)}}
        | {"f/metadata.csv": figure1, **{f"f/images/COVID-000{n}.jpg": None for n in ("00", "01", "39a", "39b")}}
    )
    table = read(root / "a")
    assert (table.layout, table.values("label")) == ("actualmed", {"COVID-19": 2, "no finding": 1})
    assert table.rows[0].extra["date"] == "20200318"
    table = read(root / "f")
    assert (table.layout, table.values("label")) == ("figure1", {"COVID-19": 3, "no finding": 1})
    assert {row.patient_id.split(":")[-1] for row in table.rows} == {"COVID-00000", "COVID-00001", "COVID-00039"}


RSNA_CLASSES = (
    "patientId,class\n0004cfab,No Lung Opacity / Not Normal\n00313ee0,Normal\n00436515,Lung Opacity\n"
    "00436515,Lung Opacity\n"
)
RSNA_BOXES = (
    "patientId,x,y,width,height,Target\n0004cfab,,,,,0\n00313ee0,,,,,0\n00436515,264.0,152.0,213.0,379.0,1\n"
    "00436515,562.0,152.0,256.0,453.0,1\n"
)
RSNA_FILES = {f"stage_2_train_images/{name}.png": None for name in ("0004cfab", "00313ee0", "00436515")}
RSNA_TABLES = {"stage_2_detailed_class_info.csv": RSNA_CLASSES, "stage_2_train_labels.csv": RSNA_BOXES}


def test_rsna_with_both_tables_or_with_boxes_alone(tree, read):
    root = tree(RSNA_TABLES | RSNA_FILES)
    table = read(root)
    assert table.layout == "rsna"
    assert table.labels == ("normal", "abnormal/lung opacity", "abnormal/no lung opacity")
    (root / "stage_2_detailed_class_info.csv").unlink()
    assert read(root).values("label") == {"no pneumonia": 2, "pneumonia": 1}


def test_tables_that_disagree_on_a_label_are_refused(tree, read):
    boxes = RSNA_BOXES.replace("00313ee0,,,,,0", "00313ee0,1,1,9,9,1")
    with pytest.raises(TableError) as refused:
        read(tree(RSNA_TABLES | RSNA_FILES | {"stage_2_train_labels.csv": boxes}))
    assert refused.value.code == "contradicting-labels"


def test_siim_covid19_labels_studies(tree, read):
    studies = "id,Negative for Pneumonia,Typical Appearance,Indeterminate Appearance,Atypical Appearance\n"
    studies += "aaa_study,0,1,0,0\nbbb_study,1,0,0,0\n"
    images = "id,boxes,label,StudyInstanceUID\n"
    images += "\"000a_image\",\"[{'x': 789.2, 'y': 582.4, 'width': 1026.6, 'height': 1917.3}]\",opacity 1 7 5 1 2,aaa\n"
    images += "000c_image,,none 1 0 0 1 1,bbb\n000d_image,,none 1 0 0 1 1,bbb\n"
    files = {"train/aaa/9/000a.png": None, "train/bbb/8/000c.png": None, "train/bbb/7/000d.png": None}
    table = read(tree({"train_study_level.csv": studies, "train_image_level.csv": images, **files}))
    assert table.layout == "siim-covid19"
    assert table.values("label") == {"pneumonia/typical": 1, "negative for pneumonia": 2}
    assert len(table.values("patient_id")) == 2


def test_covidx_lists_with_blanks_in_names_and_of_three_versions(tree, read):
    lists = {
        "train.txt": "379 1e64990d 01.png positive cohen\n8 SARS-10.1148.jpeg negative cohen\n"
        "ANON1 CR.1.png positive actmed\n",
        "val.txt": "",
        "test.txt": "12 a.png negative rsna\n",
    }
    files = {"train/1e64990d 01.png": None, "train/SARS-10.1148.jpeg": None, "train/CR.1.png": None, "test/a.png": None}
    table = read(tree(lists | files))
    assert table.layout == "covidx"
    assert table.counts() == {
        ("train", "COVID-19 positive"): 2,
        ("train", "COVID-19 negative"): 1,
        ("test", "COVID-19 negative"): 1,
    }
    assert {row.source for row in table.rows} == {"cohen", "actmed", "rsna"}


def test_more_than_half_of_the_images_missing_is_refused_and_fewer_are_counted(tree, read):
    root = tree({"metadata.csv": IEEE8023, **IEEE8023_FILES})
    (root / "images/c.png").unlink()
    assert any("1 images of the table are not there" in note for note in read(root, label_map=()).notes)
    (root / "images/a.jpeg").unlink()
    with pytest.raises(TableError) as refused:
        read(root)
    assert refused.value.code == "missing-images"
    assert str(root) in str(refused.value)


def test_an_image_with_two_labels_is_refused(tree, read):
    again = IEEE8023 + "2,0,M,65,Pneumonia/Viral/SARS,Y,Y,PA,X-ray,2020,Rome,images,a.jpeg,,,\n"
    with pytest.raises(TableError) as refused:
        read(tree({"metadata.csv": again, **IEEE8023_FILES}))
    assert refused.value.code == "contradicting-rows"


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("Cho Ray", "Hôpital").encode("cp1252"),
        lambda text: text.replace("images,", "images\\,").replace("\n", "\r\n").encode(),
    ],
)
def test_tables_as_spreadsheets_leave_them(tree, read, encode):
    root = tree({"metadata.csv": IEEE8023, **IEEE8023_FILES})
    before = read(root)
    (root / "metadata.csv").write_bytes(encode(IEEE8023))
    table = read(root)
    assert table.layout == "ieee8023"
    assert [(row.path, row.label) for row in table.rows] == [(row.path, row.label) for row in before.rows]


def test_a_layout_that_it_is_not_and_one_that_does_not_exist(tree, read):
    root = tree({"metadata.csv": IEEE8023, **IEEE8023_FILES})
    with pytest.raises(TableError) as refused:
        read(root, layout="nih")
    assert refused.value.code == "not-this-layout"
    with pytest.raises(UsageError):
        read(root, layout="imagenet")
