"""What the reader delivers is what the plan names, row for row; damage is an error that names the file."""

from collections import Counter
from dataclasses import replace
from io import BytesIO
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from manifests import sample_of
from PIL import Image

from balanced_data import write_balanced
from farandole.core.batches.reader import SplitFiles, concatenate, read_rows
from farandole.core.batches.slice_reader import check_memory, read_slice
from farandole.core.batches.stored_columns import StoredColumn, decode_jpeg
from farandole.core.dataset import parquet
from farandole.core.dataset.page_header import read_header
from farandole.core.dataset.parquet import open_file, read_row_group
from farandole.core.dataset.sample import Feature
from farandole.core.plan.epoch_plan import plan_epoch, slice_for
from farandole.errors import DataError, ResourceError
from planned_rows import rows_at

ROW_GROUPS = [[7, 8], [8, 7, 7], [9]]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("balanced")
    return root, write_balanced(root, train=ROW_GROUPS, val=11)


@given(batch=st.integers(1, 60), world_size=st.integers(1, 5), epoch=st.integers(0, 3), part=st.floats(0, 0.99))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_batches_hold_the_planned_rows_from_any_step(data, batch, world_size, epoch, part):
    root, manifest = data
    files = SplitFiles(root, manifest, "train")
    plan = plan_epoch(manifest, epoch=epoch, seed=1, global_batch_size=batch)
    start = int(part * plan.num_steps)
    for rank in range(world_size):
        own = slice_for(plan, rank, world_size)
        found = list(read_slice(files, own, start_step=start))
        assert len(found) == plan.num_steps - start
        for step, got in enumerate(found, start):
            groups, indices = rows_at(own, step)
            assert sorted(got.rows.tolist()) == sorted((files.starts[groups] + indices).tolist())


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("through", ["pages", "arrow"])
def test_rows_that_windows_share_are_read_once(tmp_path, monkeypatch, world_size, through):
    # Windows of 7 rows, over row groups of 6 and 7.
    monkeypatch.setattr("farandole.core.plan.epoch_plan.WINDOW_ROWS", 1)
    manifest = write_balanced(tmp_path, train=[[7, 6, 6, 6, 6, 6, 6]])
    plan = plan_epoch(manifest, epoch=0, seed=0, global_batch_size=4)
    assert plan.window_rows == 7
    rows = []
    for rank in range(world_size):  # there is one stream, which both must read
        files = SplitFiles(tmp_path, manifest, "train")
        table, pages, tables, images = files._table, files._pages["image"], [], []

        def read_table(group, columns, table=table, tables=tables):
            tables.append((group, columns))
            return table(group, columns)

        def read_pages(entry, row_group, read=pages.read, images=images):
            images.append(row_group)
            return read(entry, row_group) if through == "pages" else None

        monkeypatch.setattr(files, "_table", read_table)
        monkeypatch.setattr(pages, "read", read_pages)
        rows += [row for batch in read_slice(files, slice_for(plan, rank, world_size)) for row in batch.rows.tolist()]
        wanted = [*(["image"] if through == "arrow" else []), "id", "label", "copy", "row"]
        assert sorted(tables) == [(group, wanted) for group in range(7)]
        assert sorted(images) == list(range(7))
    assert sorted(rows) == list(range(43))


def test_pixels_labels_and_ids_belong_together(data):
    root, manifest = data
    files = SplitFiles(root, manifest, "train")
    table = pa.concat_tables([pq.read_table(path) for path in files.paths])
    plan = plan_epoch(manifest, epoch=0, seed=0, global_batch_size=10)
    for batch in read_slice(files, slice_for(plan, 0, 1)):
        for i, row in enumerate(batch.rows.tolist()):
            assert batch.values["image"][i].tobytes() == table["image"][row].as_py()
            assert batch.values["label"][i] == table["label"][row].as_py()


def test_read_rows_is_the_split_in_order(data):
    root, manifest = data
    files = SplitFiles(root, manifest, "train")
    batches = list(read_rows(files, 3, 40, 16))
    assert [len(batch) for batch in batches] == [16, 16, 5]
    assert np.concatenate([batch.rows for batch in batches]).tolist() == list(range(3, 40))
    assert list(read_rows(files, 5, 5, 16)) == []


def test_one_row_is_given_with_its_id(data):
    root, manifest = data
    files = SplitFiles(root, manifest, "train")
    table = pa.concat_tables([pq.read_table(path) for path in files.paths])
    for number in (0, 6, 7, 36, 45):  # the first and the last of row groups and files among them
        sample_id, row = files.row(number)
        assert sample_id == table["id"][number].as_py()
        assert row.values["image"].tobytes() == table["image"][number].as_py()
        assert row.values["image"].shape == (1, 8, 8, 1)
        assert row.values["label"].tolist() == [table["label"][number].as_py()]


def flip(path, at):
    """Flips one bit of a file that stays the same file."""
    with path.open("r+b") as file:
        file.seek(at // 8)
        byte = file.read(1)[0]
        file.seek(at // 8)
        file.write(bytes([byte ^ 1 << at % 8]))


def bits_of(path, row_group, columns):
    """The numbers of the bits of all pages of these columns, headers included, int64 [n]."""
    group, found = pq.read_metadata(path).row_group(row_group), []
    for chunk in (group.column(i) for i in range(group.num_columns)):
        if chunk.path_in_schema in columns:
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            found.append(np.arange(start * 8, (start + chunk.total_compressed_size) * 8))
    return np.concatenate(found)


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])  # through our own reading of pages, and through Arrow's
def test_a_flipped_bit_is_named_by_who_reads_it_or_changes_nothing(tmp_path, encoding):
    manifest = write_balanced(tmp_path, train=[[40, 30]], side=16)
    manifest = manifest.model_copy(update={"sample": sample_of(16, 16, 1, encoding=encoding)})
    opened, rng = SplitFiles(tmp_path, manifest, "train"), np.random.default_rng(0)
    whole, path = [opened.read(group) for group in range(2)], opened.paths[0]
    outcomes = Counter()
    for group in (0, 1):
        for column in pq.read_metadata(path).schema.names:
            for at in rng.choice(bits_of(path, group, [column]), 40).tolist():
                flip(path, at)
                for files in (SplitFiles(tmp_path, manifest, "train"), opened):
                    try:
                        found = files.read(group)
                        same = all(map(np.array_equal, found.arrays(), whole[group].arrays()))
                        outcomes[column, "missed, and nothing changed" if same else "missed"] += 1
                    except DataError as error:
                        is_named = f"{path}, row group {group}" in str(error)
                        outcomes[column, "named" if is_named else f"not named: {error}"] += 1
                flip(path, at)
    assert {outcome for _, outcome in outcomes} == {"named", "missed, and nothing changed"}
    assert outcomes["image", "named"] >= 155  # of 160; others hit what a header says for those who look for something
    assert outcomes["content_hash", "named"] == 0  # which no rank reads


def test_missing_and_truncated_files_are_named(tmp_path):
    manifest = write_balanced(tmp_path, train=[[5], [5]])
    first, second = (tmp_path / entry.path for entry in manifest.splits["train"].files)
    first.unlink()
    second.write_bytes(second.read_bytes()[:50])
    files = SplitFiles(tmp_path, manifest, "train")
    with pytest.raises(DataError, match=r"part-00000.parquet is listed in the manifest but does not exist"):
        files.read(0)
    with pytest.raises(DataError, match=r"part-00001.parquet has a footer of SHA-256 \w+, the manifest says \w+; the"):
        files.read(1)


def test_another_file_in_its_place_is_found(tmp_path):
    manifest = write_balanced(tmp_path, train=[[5], [5]])
    split = manifest.splits["train"]
    swapped = split.model_copy(update={"files": split.files[::-1]})  # as a manifest that was edited by hand would
    other = manifest.model_copy(update={"splits": {**manifest.splits, "train": swapped}})
    files = SplitFiles(tmp_path, other, "train")
    with pytest.raises(DataError, match=r"part-00001.parquet, row group 0 does not hold rows 0 to 4 of its split"):
        files.read(0)
    regrouped = split.model_copy(update={"files": [split.files[0].model_copy(update={"row_groups": [2, 3]})]})
    other = manifest.model_copy(update={"splits": {**manifest.splits, "train": regrouped}})
    with pytest.raises(DataError, match=r"has row groups of \[5\] rows, the manifest says \[2, 3\]"):
        SplitFiles(tmp_path, other, "train").read(0)


def test_a_footer_is_parsed_once_unless_the_file_changes(tmp_path, monkeypatch):
    entry = write_balanced(tmp_path, train=[[5, 6]]).splits["train"].files[0]
    parsed, parse = [], parquet.footer_bytes
    monkeypatch.setattr(parquet, "footer_bytes", lambda source: parsed.append(source.name) or parse(source))
    for _ in range(2):
        file = open_file(tmp_path, entry)
        assert read_row_group(file, "x", 1, ["row"])["row"].to_pylist() == list(range(5, 11))
    assert len(parsed) == 1
    other = write_balanced(tmp_path, train=[[6, 5]]).splits["train"].files[0]
    parsed.clear()
    assert open_file(tmp_path, other).metadata.row_group(0).num_rows == 6
    with pytest.raises(DataError, match=r"has a footer of SHA-256 \w+, the manifest says \w+; the file is damaged"):
        open_file(tmp_path, entry)
    assert len(parsed) == 2
    monkeypatch.setattr(parquet, "MAX_FOOTERS", 1)
    again = write_balanced(tmp_path / "again", train=[[5, 6]]).splits["train"].files[0]
    parsed.clear()
    for root, of_root in ((tmp_path / "again", again), (tmp_path, other)):
        open_file(root, of_root)
    assert len(parsed) == 2


def test_wrong_image_size_and_label_are_refused(data):
    root, manifest = data
    larger = manifest.model_copy(update={"sample": sample_of(9, 8, 1)})
    files = SplitFiles(root, larger, "train")
    with pytest.raises(DataError, match=r"column 'image' has values of \[64\] bytes; expected 72"):
        files.read(0)
    fewer = manifest.model_copy(update={"sample": sample_of(8, 8, 1, class_names=["ant"])})
    files = SplitFiles(root, fewer, "train")
    with pytest.raises(DataError, match=r"labels from 0 to 2; expected 0 to 0"):
        files.read(0)


def encoded(pixels: np.ndarray, **options) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("channels", "quality"), [(1, 95), (3, 95), (3, 40)])
def test_jpeg_images_have_the_pixels_that_pillow_gives(channels, quality):
    rng = np.random.default_rng(0)
    shape = (5, 23, 17, 3) if channels == 3 else (5, 23, 17)
    stored = [encoded(pixels, quality=quality) for pixels in rng.integers(0, 256, shape, dtype=np.uint8)]
    images = StoredColumn("image", Feature(dtype="uint8", shape=[23, 17, channels], encoding="jpeg"))
    expected = np.stack([np.asarray(Image.open(BytesIO(data))).reshape(images.feature.shape) for data in stored])
    column = images.read(pa.array(stored), "a file")
    assert np.array_equal(images.decode(column), expected)
    out = images.empty(3)
    images.take(column, np.array([4, 0, 4]), out)
    assert np.array_equal(out, expected[[4, 0, 4]])


def test_stored_jpegs_that_are_none_are_refused():
    data = encoded(np.full((3, 4, 3), 200, np.uint8))
    with pytest.raises(DataError, match=r"has shape \(3, 4, 3\); the manifest says \(3, 4, 1\)"):
        decode_jpeg(data, np.empty((3, 4, 1), np.uint8))
    with pytest.raises(DataError, match=r"has shape \(3, 4, 3\); the manifest says \(4, 3, 3\)"):
        decode_jpeg(data, np.empty((4, 3, 3), np.uint8))
    for damaged in (b"text", b"", data[:-12]):
        with pytest.raises(DataError, match="no readable JPEG"):
            decode_jpeg(damaged, np.empty((3, 4, 3), np.uint8))


def test_a_jpeg_that_cannot_be_decoded_is_named(tmp_path):
    manifest = write_balanced(tmp_path, train=[[5], [4, 4]])  # raw pictures, which are no JPEGs
    other = manifest.model_copy(update={"sample": sample_of(8, 8, 1, encoding="jpeg")})
    files = SplitFiles(tmp_path, other, "train")
    own = slice_for(plan_epoch(other, epoch=0, seed=0, global_batch_size=3), 0, 1)
    with pytest.raises(DataError, match=r"part-0000[01].parquet, row group [01]: a stored image is no readable JPEG"):
        next(read_slice(files, own))
    with pytest.raises(DataError, match=r"part-00001.parquet, row group 1: a stored image is no readable JPEG"):
        next(read_rows(files, 9, 13, 4))
    with pytest.raises(DataError, match=r"part-00001.parquet, row group 0: a stored image is no readable JPEG"):
        files.row(8)


@pytest.mark.parametrize("through", ["pages", "arrow"])
def test_later_epochs_read_images_alone_and_find_the_same(data, monkeypatch, through):
    root, manifest = data
    files = SplitFiles(root, manifest, "train")
    if through == "arrow":
        monkeypatch.setattr(files._pages["image"], "read", lambda *_: None)
    own = slice_for(plan_epoch(manifest, epoch=0, seed=0, global_batch_size=10), 0, 1)
    first = concatenate(list(read_slice(files, own)))
    read, columns = files._table, []
    monkeypatch.setattr(files, "_table", lambda group, names: columns.append(names) or read(group, names))
    again = concatenate(list(read_slice(files, own)))
    assert columns == ([] if through == "pages" else [["image"]] * 6)
    assert all(map(np.array_equal, first.arrays(), again.arrays()))
    monkeypatch.setattr("farandole.core.batches.reader.MAX_REMEMBERED_ROWS", 20)  # two row groups of 7 and 8 rows
    files = SplitFiles(root, manifest, "train")
    for _ in range(2):
        assert sum(len(files.read(group)) for group in range(6)) == 46
    assert len(files._remembered) == 2


def test_memory_is_used_again_but_not_under_a_batch_that_somebody_holds(data, monkeypatch):
    root, manifest = data
    monkeypatch.setattr("farandole.core.batches.slice_reader.BLOCK_BYTES", 1)
    files = SplitFiles(root, manifest, "train")
    own = slice_for(plan_epoch(manifest, epoch=0, seed=0, global_batch_size=4), 0, 1)
    held = list(read_slice(files, own))
    table = pa.concat_tables([pq.read_table(path) for path in files.paths])
    for batch in held:
        images = [image.tobytes() for image in batch.values["image"]]
        assert images == [table["image"][row].as_py() for row in batch.rows]
    addresses, steps = set(), 0
    for batch in read_slice(files, own):
        addresses.add(batch.values["image"].ctypes.data)
        steps += 1
    assert steps == 12
    assert len(addresses) < steps


def test_memory_limit_names_both_numbers_and_the_key(data):
    _, manifest = data
    own = slice_for(plan_epoch(manifest, epoch=0, seed=0, global_batch_size=8), 0, 1)
    needed = check_memory(manifest, own, 10**9)
    with pytest.raises(ResourceError, match=rf"needs {needed} bytes .*reader_memory_bytes is {needed - 1}"):
        check_memory(manifest, own, needed - 1)
    halved = replace(own, world_size=2)
    assert check_memory(manifest, halved, 10**9) <= needed


def test_the_pool_is_no_longer_than_the_rows_that_there_are(data, monkeypatch):
    """A plan of few row groups has one window of 16,384 rows, whatever the size of the data set."""
    root, manifest = data
    files, asked = SplitFiles(root, manifest, "train"), []
    room = files.room
    monkeypatch.setattr(files, "room", lambda rows: asked.append(rows) or room(rows))
    own = slice_for(plan_epoch(manifest, epoch=0, seed=0, global_batch_size=4), 0, 1)
    assert sum(len(batch) for batch in read_slice(files, own)) == own.plan.num_rows
    assert asked == [own.plan.num_rows]


def test_few_files_are_open_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("farandole.core.dataset.parquet.MAX_OPEN_FILES", 2)
    manifest = write_balanced(tmp_path, train=[[3], [4], [5], [6]])
    files = SplitFiles(tmp_path, manifest, "train")
    for _ in range(2):
        batches = list(read_rows(files, 0, 18, 18))
        assert batches[0].rows.tolist() == list(range(18))
    assert len(files._open._files) == 2


def test_every_flipped_bit_of_a_page_header_is_named_or_changes_nothing(tmp_path):
    manifest = write_balanced(tmp_path, train=[[5]], side=2, inputs=("image", "heat"))
    path = tmp_path / manifest.splits["train"].files[0].path
    whole, columns = path.read_bytes(), set(SplitFiles(tmp_path, manifest, "train").columns)
    expected = SplitFiles(tmp_path, manifest, "train").read(0).arrays()
    group, headers = pq.ParquetFile(path).metadata.row_group(0), []
    for chunk in (group.column(index) for index in range(group.num_columns)):
        start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
        if chunk.path_in_schema in columns:
            headers += range(start, start + read_header("", BytesIO(whole), start)[1])
    assert len(headers) > 5 * len(columns)
    for at, bit in product(headers, range(8)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        said, found = "", expected
        try:
            found = SplitFiles(tmp_path, manifest, "train").read(0).arrays()
        except DataError as error:
            said = str(error)
        assert f"{path}, row group 0" in said or not said
        assert all(np.array_equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))
