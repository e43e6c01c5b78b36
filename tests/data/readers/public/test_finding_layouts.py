"""Public datasets of several findings an image, with the columns as published and a few rows."""

import gzip

import pytest

from hilum.errors import TableError

NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,"
    "Height],OriginalImagePixelSpacing[x,y],\n"
    "00000001_000.png,Cardiomegaly,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
    "00000001_001.png,Cardiomegaly|Emphysema,1,1,058Y,M,PA,2894,2729,0.143,0.143,\n"
    "00000002_000.png,No Finding,0,2,081Y,F,AP,2500,2048,0.171,0.171,\n"
    "00000003_000.png,Hernia,0,3,6M,F,PA,2582,2991,0.143,0.143,\n"
)
NIH_FILES = {
    f"images_00{n % 2 + 1}/images/{name}": None
    for n, name in enumerate(("00000001_000.png", "00000001_001.png", "00000002_000.png", "00000003_000.png"))
}
NIH_LISTS = {
    "train_val_list.txt": "00000001_000.png\n00000001_001.png\n00000002_000.png\n",
    "test_list.txt": "00000003_000.png",
}


def found(table, name):
    return {row.path.rpartition("/")[2]: row.extra[f"finding:{name}"] for row in table.rows}


def test_nih_with_its_lists_in_folders_of_images(tree, read):
    table = read(tree({"Data_Entry_2017.csv": NIH, **NIH_FILES, **NIH_LISTS}))
    assert table.layout == "nih"
    assert table.findings == ("Cardiomegaly", "Emphysema", "Hernia")
    assert table.values("split") == {"train": 3, "test": 1}
    assert found(table, "Cardiomegaly") == {
        "00000001_000.png": "1",
        "00000001_001.png": "1",
        "00000002_000.png": "0",
        "00000003_000.png": "0",
    }
    assert table.values("label")["no finding"] == 1
    assert table.values("label")["Cardiomegaly|Emphysema"] == 1
    last = table.rows[3]
    assert (last.patient_id, last.extra["age"], last.extra["sex"], last.extra["view"]) == ("3", "0.5", "F", "PA")


def test_findings_are_renamed_and_joined_as_the_user_says(tree, read):
    root = tree({"Data_Entry_2017.csv": NIH, **NIH_FILES})
    table = read(root, label_map=(("Hernia", "Emphysema"),))
    assert table.findings == ("Cardiomegaly", "Emphysema")
    assert found(table, "Emphysema") == {
        "00000001_000.png": "0",
        "00000001_001.png": "1",
        "00000002_000.png": "0",
        "00000003_000.png": "1",
    }
    assert read(root, label_map=(("Hernia", ""),)).findings == ("Cardiomegaly", "Emphysema")
    with pytest.raises(TableError) as refused:
        read(root, label_map=(("Emphysema", "Cardiomegaly"), ("Hernia", "")))
    assert refused.value.code == "single-finding"


CHEXPERT = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
)
CHEXPERT += (
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices\n"
)


def chexpert(split, *rows):
    return CHEXPERT + "".join(f"CheXpert-v1.0-small/{split}/{row}\n" for row in rows)


def test_chexpert_keeps_uncertain_and_unknown_apart(tree, read):
    tables = {
        "CheXpert-v1.0-small/train.csv": chexpert(
            "train",
            "patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
            "patient00002/study2/view1_frontal.jpg,Male,87,Frontal,PA,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
            "patient00002/study2/view2_lateral.jpg,Male,87,Lateral,,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
        ),
        "CheXpert-v1.0-small/valid.csv": chexpert(
            "valid",
            "patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
        ),
    }
    above = "CheXpert-v1.0-small"
    files = {
        f"{above}/train/patient00001/study1/view1_frontal.jpg": None,
        f"{above}/train/patient00002/study2/view1_frontal.jpg": None,
        f"{above}/train/patient00002/study2/view2_lateral.jpg": None,
        f"{above}/valid/patient64541/study1/view1_frontal.jpg": None,
    }
    root = tree(tables | files)
    for place in (root, root / above):
        table = read(place)
        assert table.layout == "chexpert"
        assert {"Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Edema"} <= {*table.findings}
        rows = {row.patient_id: row for row in table.rows}
        assert rows.keys() == {"patient00001", "patient00002", "patient64541"}
        assert {patient: row.split for patient, row in rows.items()}["patient64541"] == "val"
        assert rows["patient00002"].extra["finding:Cardiomegaly"] == "-1"
        assert rows["patient00002"].extra["finding:Enlarged Cardiomediastinum"] == ""  # not mentioned
        assert rows["patient00001"].extra["finding:Enlarged Cardiomediastinum"] == "0"  # nothing was found
        assert rows["patient00001"].extra["sex"] == "F"
        assert "1 lateral" in table.notes[0]


def test_a_value_of_a_finding_that_means_nothing_is_refused(tree, read):
    table = chexpert("train", "patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,,,yes,,,,,,,,,,,")
    with pytest.raises(TableError) as refused:
        read(tree({"train.csv": table, "train/patient00001/study1/view1_frontal.jpg": None}))
    assert refused.value.code == "unknown-finding-value"


def test_mimic_cxr_joins_its_three_compressed_tables(tree, read):
    labels = "subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,"
    labels += (
        "Lung Lesion,Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices\n"
    )
    labels += "10000032,50414267,,,,,,,,,1.0,,,,,\n10000764,57375967,,,1.0,,,,,,,,,-1.0,,\n"
    split = "dicom_id,study_id,subject_id,split\naa-1,50414267,10000032,train\nbb-2,50414267,10000032,train\n"
    split += "cc-3,57375967,10000764,validate\n"
    meta = (
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime\n"
    )
    meta += "aa-1,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544,21800506,213014.531\n"
    meta += "bb-2,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544,21800506,213014.531\n"
    meta += "cc-3,10000764,57375967,CHEST (PORTABLE AP),AP,3056,2544,21331003,1\n"
    packed = {"chexpert": labels, "split": split, "metadata": meta}
    files = {f"mimic-cxr-2.0.0-{name}.csv.gz": gzip.compress(text.encode()) for name, text in packed.items()}
    images = ("p10/p10000032/s50414267/aa-1", "p10/p10000032/s50414267/bb-2", "p10/p10000764/s57375967/cc-3")
    table = read(tree(files | {f"files/{name}.jpg": None for name in images}))
    assert table.layout == "mimic-cxr"
    rows = {row.patient_id: row for row in table.rows}
    assert {patient: row.split for patient, row in rows.items()} == {"10000032": "train", "10000764": "val"}
    assert rows["10000764"].extra["finding:Pneumonia"] == "-1"
    assert rows["10000764"].label == "Consolidation"
    assert rows["10000032"].label == "no finding"


def test_padchest_lists_of_labels(tree, read):
    text = ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,Projection,MethodLabel,"
    text += "Labels\n"
    lists = ("['normal']", "['cardiomegaly', 'pleural effusion']", "['exclude']", "['pleural effusion']")
    for n, labels in enumerate(lists):
        text += f'{n},2168_{n}.png,0,20140915,s{n},p{n},1930.0,F,PA,Physician,"{labels}"\n'
    text += "9,2168_9.png,0,20140915,s3,p3,1930.0,F,L,Physician,\"['normal']\"\n"
    files = {f"{n % 2}/2168_{n}.png": None for n in (0, 1, 2, 3, 9)}
    root = tree({"PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv": text, **files})
    table = read(root)
    assert table.layout == "padchest"
    assert table.findings == ("cardiomegaly", "pleural effusion")
    assert found(table, "pleural effusion") == {"2168_0.png": "0", "2168_1.png": "1", "2168_3.png": "1"}
    assert table.rows[0].extra["age"] == "84"
    file = root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
    file.write_text(text.replace("['normal']", "normal; cardiomegaly"))
    with pytest.raises(TableError) as refused:
        read(root)
    assert refused.value.code == "unknown-list"


def test_vindr_by_votes_of_radiologists(tree, read):
    head = "image_id,rad_id,Nodule/Mass,Pleural effusion,Pneumothorax,Other diseases,No finding\n"
    rows = "a,R1,1,1,0,0,0\na,R2,1,0,0,0,0\na,R3,0,0,0,0,0\nb,R1,0,0,0,0,1\nb,R2,0,0,0,0,1\nb,R3,0,0,0,0,1\n"
    test = "image_id,Nodule/Mass,Pleural effusion,Pneumothorax,Other disease,No finding\nc,0,1,1,1,0\n"
    tables = {"annotations/image_labels_train.csv": head + rows, "annotations/image_labels_test.csv": test}
    table = read(tree(tables | {"train/a.png": None, "train/b.png": None, "test/c.png": None}))
    assert table.layout == "vindr-cxr"
    assert table.findings == ("Nodule or Mass", "Pleural effusion", "Pneumothorax", "Other diseases")
    assert found(table, "Other diseases") == {
        "a.png": "0",
        "b.png": "0",
        "c.png": "1",
    }  # the tables name it differently
    assert found(table, "Nodule or Mass") == {"a.png": "1", "b.png": "0", "c.png": "0"}
    assert found(table, "Pleural effusion") == {"a.png": "-1", "b.png": "0", "c.png": "1"}
    assert table.values("split") == {"train": 2, "test": 1}


def test_vindr_by_kaggles_boxes(tree, read):
    lines = [
        "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max",
        *("d,Edema,5,R1,1,1,9,9", "d,Edema,5,R2,1,1,9,9"),
        *("a,Cardiomegaly,3,R1,1,1,9,9", "a,Cardiomegaly,3,R1,2,2,9,9", "a,No finding,14,R2,,,,"),
        *("b,No finding,14,R1,,,,", "b,No finding,14,R2,,,,"),
        *("c,Cardiomegaly,3,R1,1,1,2,2", "c,Cardiomegaly,3,R2,1,1,2,2"),
    ]
    boxes = "\n".join(lines)
    table = read(tree({"train.csv": boxes, **{f"train/{n}.png": None for n in "abcd"}}))
    assert found(table, "Cardiomegaly") == {"a.png": "-1", "b.png": "0", "c.png": "1", "d.png": "0"}
