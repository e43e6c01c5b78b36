"""Tables from CSV files, as any program writes them."""

import csv
import io
import zipfile

import pytest
from PIL import Image

from hilum.data import dataset as packing
from hilum.data.options import ReadOptions
from hilum.data.readers.read import read_table
from hilum.errors import TableError
from wording import numbers


def cells(table):
    return [(row.path, row.label, row.split, row.patient_id) for row in table.rows]


# labels and folders


def test_a_table_beside_the_images_is_picked_up_with_its_further_columns(write):
    table = read_table(write("path,label,patient_id,source,age\na.png,x,p1,here,7\nb.png,y,p2,there,\n"))
    assert table.patients_known
    assert [row.source for row in table.rows] == ["here", "there"]
    assert table.rows[0].extra == {"age": "7"}
    assert table.notes == ()


def test_a_label_that_is_only_the_folders_name_keeps_the_folders_nesting(write):
    rows = "path,label\ntrain/infected/covid/1.png,covid\ntrain/normal/2.png,normal\n"
    assert read_table(write(rows)).labels == ("normal", "infected/covid")


@pytest.mark.parametrize(
    "paths",
    [
        ("images/all/covid/1.png", "images/all/normal/2.png"),  # folders that all images share
        ("set/train/covid/1.png", "set/test/normal/2.png"),  # a split is no part of a label, wherever it stands
        ("batch1/1.png", "batch2/2.png"),  # folders that contradict the labels
    ],
)
def test_folders_that_say_nothing_of_the_label_are_no_part_of_it(write, paths):
    assert read_table(write(f"path,label\n{paths[0]},covid\n{paths[1]},normal\n")).labels == ("normal", "covid")


def test_folders_of_patients_or_hospitals_are_no_taxonomy(write):
    rows = "path,label\np1/covid/1.png,covid\np2/covid/2.png,covid\np3/normal/3.png,normal\n"
    assert read_table(write(rows)).labels == ("normal", "covid")


# how it is written

WRITTEN = {
    "utf-8 with a byte-order mark": ("utf-8-sig", "path,label,patient_id\na.png,Ödem,1\nb.png,y,2\n"),
    "utf-16": ("utf-16", "path,label,patient_id\na.png,Ödem,1\nb.png,y,2\n"),
    "utf-16 without a mark": ("utf-16-le", "path,label,patient_id\na.png,Ödem,1\nb.png,y,2\n"),
    "big-endian": ("utf-16-be", "path,label,patient_id\na.png,Ödem,1\nb.png,y,2\n"),
    "tabs": ("utf-8", "path\tlabel\tpatient_id\na.png\tÖdem\t1\nb.png\ty\t2\n"),
    "Unicode text of Excel": (
        "utf-16",
        "path\tlabel\tpatient_id\r\na.png\tÖdem\t1\r\nb.png\ty\t2\r\n",
    ),
    "semicolons": ("utf-8", "path;label;patient_id\na.png;Ödem;1\nb.png;y;2\n"),
    "sep=": ("utf-8-sig", "sep=;\r\npath;label;patient_id\r\na.png;Ödem;1\r\nb.png;y;2\r\n"),
    "bars": ("utf-8", "path|label|patient_id\na.png|Ödem|1\nb.png|y|2\n"),
    "comments and blank lines": (
        "utf-8",
        "# made, by me\n\npath,label,patient_id\na.png,Ödem,1\n# x\n,,\n\nb.png,y,2\n",
    ),
    "quotes and blanks": ("utf-8", '"path", "label",patient_id\n"a.png", Ödem ,1\nb.png,"y",2\n'),
    "Windows-1252": ("cp1252", "path,label,patient_id\na.png,Ödem,1\nb.png,y,2\n"),
    "cells that are left off": ("utf-8", "path,label,patient_id,split,view\na.png,Ödem,1\nb.png,y,2,,\n"),
    "commas at the ends": ("utf-8", "path,label,patient_id,\na.png,Ödem,1,\nb.png,y,2,,,\n"),
    "a column of numbers": ("utf-8", ",path,label,patient_id\n0,a.png,Ödem,1\n1,b.png,y,2\n"),
    "a letter that starts a picture": ("utf-8", "BMI,path,label,patient_id\n20,a.png,Ödem,1\n,b.png,y,2\n"),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_every_usual_way_of_writing_a_table_gives_the_same_rows(write, kind):
    encoding, text = WRITTEN[kind]
    table = read_table(write(text, encoding=encoding))
    assert cells(table) == [("a.png", "Ödem", "", "1"), ("b.png", "y", "", "2")]
    assert len(table.notes) == (kind in ("Windows-1252", "cells that are left off"))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_whatever_a_cell_holds_survives(write, separator):
    """Against Python's own writer of CSV, with every separator inside of cells."""
    given = [(f"a{k}.png", f"x{mark}y", f'p{mark}"') for k, mark in enumerate((",", ";", "\t", "|", "'"))]
    out = io.StringIO()
    csv.writer(out, delimiter=separator).writerows([("path", "label", "patient_id"), *given, ("z.png", "z", "p")])
    found = [(row.path, row.label, row.patient_id) for row in read_table(write(out.getvalue())).rows]
    assert found == [(path, " ".join(label.split()), patient) for path, label, patient in given] + [("z.png", "z", "p")]


@pytest.mark.parametrize("name", ["Metadata.CSV", "METADATA.csv", "metadata.tsv"])
def test_the_table_beside_the_images_may_be_written_in_any_case(write, name):
    assert len(read_table(write("path,label\na.png,x\nb.png,y\n", name=name))) == 2


def test_other_tables_in_a_folder_are_named_where_they_are_not_read(write, refuses, snapshot):
    root = write("path,label\na.png,x\nb.png,y\n", "one/a.png", "two/b.png", name="labels.csv")
    snapshot("\n".join(read_table(root).notes))
    (root / "two" / "b.png").rename(root / "one" / "b.png")
    with refuses(TableError, "table-in-folder", root) as caught:
        read_table(root)
    assert str(root / "labels.csv") in caught.value.message


def test_a_table_of_images_in_a_folder_that_is_no_dataset_is_named_first(write, refuses):
    root = write("filename,diagnosis\na.png,x\nb.png,y\n", "images/a.png", "images/b.png", name="labels.csv")
    with refuses(TableError, "table-in-folder", root) as caught:
        read_table(root)
    assert str(root / "labels.csv") in caught.value.message
    (root / "other.csv").write_text("name,age\n1,2\n")
    with refuses(TableError, "table-in-folder"):
        read_table(root)
    (root / "again.csv").write_text("path,label\na.png,x\n")
    with refuses(TableError, "no-class-folder"):
        read_table(root)


def test_two_tables_of_one_name_are_not_chosen_between(write, refuses):
    write("path,label\na.png,x\nb.png,y\n", name="Metadata.csv")
    with refuses(TableError, "several-tables"):
        read_table(write("path,label\na.png,x\nb.png,y\n", name="METADATA.csv"))


# what it is not


def test_what_is_no_table_is_named_as_what_it_is(tmp_path, refuses):
    picture, book, page = tmp_path / "x.csv", tmp_path / "y.csv", tmp_path / "z.csv"
    Image.new("L", (40, 40)).save(picture, format="JPEG")
    with zipfile.ZipFile(book, "w") as archive:
        archive.writestr("xl/workbook.xml", "<a/>")
    page.write_text("<!DOCTYPE html><html><body>404: path, label</body></html>")
    for file in (picture, book, page):
        with refuses(TableError, "not-a-table", file) as caught:
            read_table(file)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300
    picture.write_bytes(bytes(range(256)) * 20)
    with refuses(TableError, "not-a-table"):
        read_table(picture)
    picture.write_bytes(b"")
    with refuses(TableError, "not-a-table"):
        read_table(picture)


BAD = {
    "missing column": ("path,split\na.png,train\n", "unrecognised-columns"),
    "no column known": ("alpha,beta\na.png,x\n", "unrecognised-columns"),
    "no words": ("hello\n", "unrecognised-columns"),
    "a path twice": ("path,path,label\na.png,b.png,x\n", "ambiguous-column"),
    "two that may be meant": ("image,filename,label\n1,a.png,x\n", "ambiguous-column"),
    "too many cells": ("path,label\na.png,x\nb.png,y, mild\nc.png,z, w\n", "surplus-cells"),
    "an open quote": ('path,label\na.png,"x\nb.png,y\n', "malformed-table"),
    "a quote closed too late": ('path,label\n"a.png,x\nb.png",y\n', "no-path"),
    "listed again as another": ("path,label\na.png,x\nb.png,y\na.png,y\n./b.png,x\n", "contradicting-rows"),
    "empty path": ("path,label\n,x\n", "no-path"),
    "no label at all": ("path,label\na.png,\n", "single-label"),
    "unknown split": ("path,label,split\na.png,x,B\n", "unknown-split"),
    "no rows": ("path,label\n", "no-rows"),
    "one label": ("path,label\na.png,x\nb.png,x\n", "single-label"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_read_rightly_is_refused_with_the_remedy(write, kind, refuses):
    text, code = BAD[kind]
    with refuses(TableError, code):
        read_table(write(text))


def test_rows_that_repeat_an_image_count_once(write, monkeypatch, snapshot):
    text = "path,label,view\na.png,x,PA\nb.png,y,PA\n./a.png,x,\nb.png,y,PA\n"
    for fewest in (20_000, 2):  # as objects, and in columns
        monkeypatch.setattr(packing, "PACK_FROM", fewest)
        table = read_table(write(text))
        assert [row.path for row in table.rows] == ["a.png", "b.png"]
        assert table.rows[0].extra["view"] == "PA"
        snapshot("\n".join(table.notes))
        assert {"2"} <= numbers("\n".join(table.notes))


def test_a_further_column_may_be_there_twice(write):
    table = read_table(write("path,label,note,note\na.png,x,1,2\nb.png,y,3,4\n"))
    assert table.rows[0].extra == {"note": "1", "note (4)": "2"}


# columns

KNOWN_TABLES = {
    "NIH ChestX-ray14": "Image Index,Finding Labels,Follow-up #,Patient ID,View Position,Original[Width,Height],",
    "ieee8023": "patientid,offset,sex,age,finding,RT_PCR_positive,view,modality,date,location,folder,filename,doi,url",
    "CoronaHack": ",X_ray_image_name,Label,Dataset_type,Label_2_Virus_category,Label_1_Virus_category",
    "upper case": "PATH,LABEL,PatientID,SPLIT",
    "words": "file name,Diagnosis,Subject ID,set",
    "camel case": "imagePath,class,patientId,Partition",
}  # fmt: skip
MEANT = {
    "NIH ChestX-ray14": {"path": "Image Index", "label": "Finding Labels", "patient_id": "Patient ID"},
    "ieee8023": {"path": "filename", "label": "finding", "patient_id": "patientid"},
    "CoronaHack": {"path": "X_ray_image_name", "label": "Label", "split": "Dataset_type"},
    "upper case": {"path": "PATH", "label": "LABEL", "patient_id": "PatientID", "split": "SPLIT"},
    "words": {"path": "file name", "label": "Diagnosis", "patient_id": "Subject ID", "split": "set"},
    "camel case": {"path": "imagePath", "label": "class", "patient_id": "patientId", "split": "Partition"},
}


@pytest.mark.parametrize("kind", KNOWN_TABLES)
def test_columns_of_well_known_tables_are_recognised_and_said(write, kind):
    header, meant = KNOWN_TABLES[kind].split(","), MEANT[kind]
    lines = [",".join(header)]
    values = {"path": ("a.png", "b.png"), "label": ("x", "y"), "patient_id": ("1", "2"), "split": ("train", "TEST")}
    role_of = {name: role for role, name in meant.items()}
    lines += [",".join(values[role_of[name]][k] if name in role_of else "0" for name in header) for k in (0, 1)]
    table = read_table(write("\n".join(lines)), ReadOptions(layout="plain"))
    splits = ("train", "test") if "split" in meant else ("", "")
    patients = ("1", "2") if "patient_id" in meant else ("", "")
    assert cells(table) == [("a.png", "x", splits[0], patients[0]), ("b.png", "y", splits[1], patients[1])]
    assert set(table.rows[0].extra) == set(header) - set(meant.values()) - {""}
    (note,) = table.notes
    assert all(f"{name} = " in note for name in meant.values() if name not in ("path", "label"))


def test_images_that_are_not_there_are_counted_and_more_than_half_refused(write, refuses):
    text = "path,label\na.png,x\nb.png,y\nc.png,x\n"
    table = read_table(write(text, "a.png", "b.png"))
    assert len(table) == 3
    assert any("1 of 3 images" in note for note in table.notes)
    (table.root / "b.png").unlink()
    with refuses(TableError, "missing-images") as error:
        read_table(table.root)
    assert error.value.path == table.root


def test_what_the_user_says_goes_before_any_name(write, refuses):
    text = "path,label,where,what,who,part\n1,2,a.png,x,p,train\n1,2,b.png,y,q,test\n"
    table = read_table(write(text), ReadOptions("where", "What", "who", "part"))
    assert cells(table) == [("a.png", "x", "train", "p"), ("b.png", "y", "test", "q")]
    assert table.options.label_column == "What"
    with refuses(TableError, "no-such-column"):
        read_table(write(text), ReadOptions(path_column="wher"))
    one = read_table(write("id,label\na.png,x\nb.png,y\n"), ReadOptions(path_column="id", patient_column="id"))
    assert [row.patient_id for row in one.rows] == ["a.png", "b.png"]


def test_columns_are_not_given_to_folders(write_dataset, refuses):
    with refuses(TableError, "no-table"):
        read_table(write_dataset(metadata=False), ReadOptions(label_column="x"))


def test_a_row_whose_path_begins_like_a_comment_is_a_row(write):
    table = read_table(write("path,label\n# 1.png,x\n#2.png,y\n# no row\n# nor this,\n"))
    assert [row.path for row in table.rows] == ["# 1.png", "#2.png"]


def test_a_single_column_of_hospitals_is_the_source_and_stays_a_column(write):
    table = read_table(write("path,label,Hospital\na.png,x,here\nb.png,y,there\n"))
    assert [(row.source, row.extra["Hospital"]) for row in table.rows] == [("here", "here"), ("there", "there")]
    table = read_table(write("path,label,hospital,site\na.png,x,here,1\nb.png,y,there,2\n"))
    assert not any(row.source for row in table.rows)


# patients


def test_patients_who_are_nobody_are_unknown_and_counted(write):
    ids = ["nan", "NaN", "N/A", "<NA>", "unknown", "anonymous", "None", "p1", ""]
    rows = "".join(f"{k}.png,{'xy'[k % 2]},{name}\n" for k, name in enumerate(ids))
    table = read_table(write(f"path,label,patient_id\n{rows}"))
    assert [row.patient_id for row in table.rows] == [""] * 7 + ["p1", ""]
    assert len(set(table.patients())) == 9
    assert any(note.startswith("the patient of 7 images is not known") for note in table.notes)


@pytest.mark.parametrize("name", ["REMOVED", "De-identified", "PATIENT_ID", "NOID", "XXXX", "unknown"])
def test_a_table_whose_patients_were_all_removed_has_none(write, name):
    rows = "".join(f"{k}.png,{'xy'[k % 2]},{name}\n" for k in range(6))
    assert len(set(read_table(write(f"path,label,patient_id\n{rows}")).patients())) == 6


def test_a_table_may_number_its_patients_from_zero(write):
    table = read_table(write("path,label,patient_id\na.png,x,0\nb.png,y,0\nc.png,x,1\n"))
    assert [row.patient_id for row in table.rows] == ["0", "0", "1"]


def test_whole_numbers_that_pandas_wrote_as_decimals_are_the_same_patients(write, snapshot):
    table = read_table(write("path,label,patient_id\na.png,x,1\nb.png,y,1.0\nc.png,x,2.0\nd.png,y,P3\n"))
    assert [row.patient_id for row in table.rows] == ["1", "1", "2", "P3"]
    snapshot("\n".join(table.notes))
    assert {"1", "1.0"} <= numbers("\n".join(table.notes))
    table = read_table(write("path,label,patient_id\na.png,x,1.0\nb.png,y,1.1\nc.png,x,1\n"))
    assert [row.patient_id for row in table.rows] == ["1.0", "1.1", "1"], "sites and numbers are no decimals"


PATIENTS = "pid,participant_id,person_id,pat_id,ptid,PatientIdentifier,anon_patient_id,id_paciente,PatientName"


@pytest.mark.parametrize("name", PATIENTS.split(","))
def test_patients_are_found_under_many_names(write, name):
    table = read_table(write(f"path,label,{name}\na.png,x,p\nb.png,y,q\n"))
    assert [row.patient_id for row in table.rows] == ["p", "q"]
    (note,) = table.notes
    assert ("names" in note) == (name == "PatientName")


def test_names_of_people_are_used_only_where_nothing_else_tells_patients(write):
    table = read_table(write("path,label,PatientName,mrn\na.png,x,p,1\nb.png,y,q,2\n"))
    assert [row.patient_id for row in table.rows] == ["1", "2"]


@pytest.mark.parametrize("cell", ["NaT", "#REF!", "#VALUE!", "No data", "No label", "pending", "-1"])
def test_what_programs_write_for_nothing_is_no_patient_and_no_label(write, cell, snapshot):
    table = read_table(write(f"path,label,patient_id\na.png,x,{cell}\nb.png,y,p\nc.png,{cell},q\n"))
    assert [row.patient_id for row in table.rows][:2] == ["", "p"]
    if cell == "-1":
        snapshot("\n".join(table.notes))
    else:
        assert table.labels == ("x", "y")
