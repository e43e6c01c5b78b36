"""Links among the folders of a dataset."""

from folder_trees import TWO, counts, every, picture
from hilum.data.readers.read import read_table
from hilum.errors import TableError


def test_a_class_folder_that_is_a_broken_link_is_named(tree):
    root = tree({"covid": 3, "normal": 3})
    (root / "tb").symlink_to("nowhere")
    assert any(note.startswith("WARNING: 'tb' is a broken link") for note in read_table(root).notes)


def test_a_link_takes_no_split_and_no_label_away(tree, tmp_path, snapshot):
    root = tree({f"{split}/{label}": 3 for split in ("train", "test") for label in TWO})
    (root / "val").symlink_to("test")  # sorts behind test; a link that sorts before it is no other case
    (root / "a_link").symlink_to("train")
    (root / "up").symlink_to(tmp_path)
    table = read_table(root)
    assert every(counts(table), TWO, train=3, test=3)
    links = [note for note in table.notes if "link" in note]
    assert [any(name in note for name in ("'val'", "'a_link'", "'up'")) for note in links] == [True] * 3
    snapshot("\n".join(links))
    (tmp_path / "linked").symlink_to(root)
    assert counts(read_table(tmp_path / "linked")) == counts(table)


def test_two_links_to_one_folder_elsewhere_stop(tree, tmp_path, refuses):
    root = tree({"normal": 3})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").write_bytes(picture(99))
    (root / "covid").symlink_to(tmp_path / "elsewhere")
    assert counts(read_table(root)) == {"covid": 1, "normal": 3}
    (root / "tb").symlink_to(tmp_path / "elsewhere")
    with refuses(TableError, "linked-twice"):
        read_table(root)


def test_loops_of_links_end_and_links_to_folders_are_followed(write_dataset, tmp_path):
    root = write_dataset(labels=("a", "b"), splits=("",), patients=1, images=1, metadata=False)
    (root / "a" / "loop").symlink_to(root)
    elsewhere = tmp_path / "elsewhere"
    (root / "b").rename(elsewhere)
    (root / "b").symlink_to(elsewhere)
    assert len(read_table(root)) == 2


def test_links_that_lead_nowhere_are_listed(write_dataset):
    root = write_dataset(labels=("a", "b"), splits=("",), patients=1, images=1, metadata=False)
    (root / "a" / "gone.png").symlink_to(root / "nowhere.png")
    assert "a/gone.png" in [row.path for row in read_table(root).rows]
