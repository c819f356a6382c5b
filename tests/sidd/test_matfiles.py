from dataclasses import replace

import h5py
import numpy as np
import pytest
import scipy.io

import sidd
from sidd.matfiles import raw_shape


def write_plain(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file[name] = data
    return path


def save_struct(path, metadata, change):
    sidd.write_metadata(path, metadata)
    struct = scipy.io.loadmat(path)["metadata"]
    fields = {name: struct[name][0, 0] for name in struct.dtype.names}
    change(fields)
    scipy.io.savemat(path, {"metadata": fields}, appendmat=False)
    return path


def test_pair_is_cleaned_as_by_the_release(numbers_of, metadata, tmp_path):
    numbers = numbers_of("data_and_metrics")
    noisy, clean, conditions = (tmp_path / f"{name}.MAT" for name in ("noisy", "clean", "metadata"))
    sidd.write_raw(noisy, numbers["load_raw_noisy"])
    sidd.write_raw(clean, numbers["load_raw_clean"])
    sidd.write_metadata(conditions, metadata)
    assert_same_images(sidd.read_pair(noisy, clean, conditions), numbers)


def test_pair_of_the_real_sidd(sample, numbers):
    np.testing.assert_array_equal(sidd.read_raw(sample.noisy), numbers["load_raw_noisy"])
    np.testing.assert_array_equal(sidd.read_raw(sample.clean), numbers["load_raw_clean"])
    pair = sidd.read_pair(sample.noisy, sample.clean, sample.metadata)
    assert_same_images(pair, numbers)
    np.testing.assert_allclose(pair.nlf, numbers["load_nlf"], rtol=1e-6)
    assert pair.iso == numbers["load_iso"]
    assert sidd.CAMERAS.index(pair.camera) == numbers["load_cam"]


def assert_same_images(pair, numbers):
    assert pair.noise.dtype == pair.clean.dtype == np.float32
    np.testing.assert_allclose(pair.noise, numbers["load_noise"][0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(pair.clean, numbers["load_clean"][0], rtol=0, atol=1e-6)


def test_metadata_of_the_real_sidd(sample, numbers):
    metadata = sidd.read_metadata(sample.metadata)
    one_based = metadata.cfa_pattern + 1
    np.testing.assert_array_equal(one_based, numbers["meta_bayer"])
    np.testing.assert_array_equal(metadata.as_shot_neutral, numbers["meta_wb"][0])
    np.testing.assert_array_equal(metadata.color_matrix2, numbers["meta_cst2"])
    assert metadata.color_matrix1.shape == (3, 3)
    assert metadata.color_matrix1[0, 0] == 0.6640625
    assert metadata.iso == numbers["meta_iso"]
    assert sidd.CAMERAS.index(metadata.camera) == numbers["meta_cam"]
    assert metadata.make == "samsung"


def test_written_metadata_is_nested_as_the_real_one(sample, metadata, tmp_path):
    sidd.write_metadata(tmp_path / "m.MAT", metadata)
    ours, real = (
        scipy.io.loadmat(path)["metadata"] for path in (tmp_path / "m.MAT", sample.metadata)
    )
    assert ours.shape == real.shape == (1, 1)
    for name in set(ours.dtype.names) - {"UnknownTags"}:
        mine, its = ours[name][0, 0], real[name][0, 0]
        assert mine.shape == its.shape and mine.dtype.kind == its.dtype.kind, name
    mine, its = ours["UnknownTags"][0, 0], real["UnknownTags"][0, 0]
    assert mine.dtype.names == its.dtype.names and mine.ndim == its.ndim
    its = {int(row["ID"][0, 0]): row for row in its.ravel()}
    for row in mine.ravel():
        value = its[int(row["ID"][0, 0])]["Value"]
        assert row["Value"].shape == value.shape and row["Value"].dtype == value.dtype


def assert_same_metadata(one, other):
    for name, value in vars(one).items():
        np.testing.assert_array_equal(getattr(other, name), value, err_msg=name)


def test_metadata_round_trip_gives_the_same_file(metadata, tmp_path):
    one, two = tmp_path / "1.MAT", tmp_path / "2.MAT"
    sidd.write_metadata(one, metadata)
    again = sidd.read_metadata(one)
    assert_same_metadata(metadata, again)
    sidd.write_metadata(two, again)
    assert one.read_bytes() == two.read_bytes()


def test_fields_deeper_in_the_struct(metadata, tmp_path):
    def move(fields):
        fields["DigitalCamera"] = {"ISOSpeedRatings": fields.pop("ISOSpeedRatings")}
        subifds = np.empty((1, 1), object)
        subifds[0, 0] = {"UnknownTags": fields.pop("UnknownTags"), "Width": 10}
        fields["SubIFDs"] = subifds

    assert_same_metadata(metadata, sidd.read_metadata(save_struct(tmp_path / "m", metadata, move)))


def test_tags_without_offsets(metadata, tmp_path):
    def strip(fields):
        table = fields["UnknownTags"]
        fields["UnknownTags"] = np.empty(table.shape, [("ID", object), ("Value", object)])
        for name in ("ID", "Value"):
            fields["UnknownTags"][name] = table[name]

    assert_same_metadata(metadata, sidd.read_metadata(save_struct(tmp_path / "m", metadata, strip)))


def test_a_camera_of_another_maker_is_named(metadata, tmp_path):
    path = save_struct(tmp_path / "new.MAT", metadata, lambda f: f.update(Make="Nikon"))
    read = sidd.read_metadata(path, camera="D5")
    assert (read.make, read.camera, read.iso) == ("Nikon", "D5", metadata.iso)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.update(Make="Nikon"), "Make 'Nikon', Model ''; known: Apple iPhone 7"),
        (lambda f: f.pop("ISOSpeedRatings"), "no ISOSpeedRatings with 1 value"),
        (lambda f: f.update(ColorMatrix2=np.eye(2)), "no ColorMatrix2 with 9 values"),
        (lambda f: f.pop("UnknownTags"), "no tag 33422 in UnknownTags with 4 values"),
    ],
)
def test_bad_metadata_is_named_with_the_reason(metadata, tmp_path, change, message):
    path = save_struct(tmp_path / "bad.MAT", metadata, change)
    with pytest.raises(sidd.SiddError, match=rf"bad\.MAT: .*{message}"):
        sidd.read_metadata(path)


@pytest.mark.parametrize("content", [b"", b"not a MATLAB file " * 20])
def test_files_of_another_kind(tmp_path, content):
    path = tmp_path / "strange.MAT"
    path.write_bytes(content)
    with pytest.raises(sidd.SiddError, match=r"strange\.MAT: not a readable MATLAB v5"):
        sidd.read_metadata(path)
    with pytest.raises(sidd.SiddError, match=r"strange\.MAT: not a readable MATLAB v7\.3"):
        sidd.read_raw(path)


@pytest.mark.parametrize("read", [sidd.read_raw, sidd.read_metadata])
def test_missing_files(tmp_path, read):
    with pytest.raises(sidd.SiddError, match=r"gone\.MAT: no such file"):
        read(tmp_path / "gone.MAT")


def test_raw_files_are_matlab_s(tmp_path):
    path = tmp_path / "x.MAT"
    array = np.random.default_rng(0).random((6, 10)).astype(np.float32)
    sidd.write_raw(path, array)
    header = path.read_bytes()[:128]
    assert header.startswith(b"MATLAB 7.3 MAT-file") and header[124:] == b"\x00\x02IM"
    with h5py.File(path) as file:
        assert file.userblock_size == 512
        assert list(file) == ["x"] and file["x"].attrs["MATLAB_class"] == b"single"
        np.testing.assert_array_equal(file["x"], array)
    np.testing.assert_array_equal(sidd.read_raw(path), array)
    assert raw_shape(path) == (6, 10)
    assert list(tmp_path.iterdir()) == [path], "nothing is left beside the file"


def test_a_dataset_of_another_name(tmp_path):
    image = np.ones((4, 6))
    path = write_plain(tmp_path / "other.MAT", noisy=image, size=np.array([4, 6]))
    raw = sidd.read_raw(path)
    assert raw.dtype == np.float32 and raw.shape == (4, 6)
    path = write_plain(tmp_path / "two.MAT", a=image, b=image)
    with pytest.raises(sidd.SiddError, match=r"two\.MAT: expected a float dataset `x`.*/a.*/b"):
        sidd.read_raw(path)
    path = write_plain(tmp_path / "integer.MAT", x=np.ones((4, 6), np.uint16))
    with pytest.raises(sidd.SiddError, match=r"integer\.MAT: .*found /x uint16"):
        sidd.read_raw(path)


def test_a_truncated_file(tmp_path):
    path = tmp_path / "short.MAT"
    sidd.write_raw(path, np.random.default_rng(0).random((64, 64)))
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(sidd.SiddError, match=r"short\.MAT: .*damaged one"):
        sidd.read_raw(path)


def test_cleaning_of_pairs(metadata, tmp_path):
    noisy, clean = np.full((2, 40, 40), 0.5)
    noisy[:2, :4] = [[np.nan, -0.5, 0.5, 1.25], [0.25, 0.5, 1.5, -0.25]]
    clean[:2, :4] = [[0.5, 0.5, np.nan, 0.75], [0.5, 1.5, 0.5, 0.5]]
    paths = [tmp_path / name for name in ("noisy", "clean", "metadata")]
    sidd.write_raw(paths[0], noisy)
    sidd.write_raw(paths[1], clean)
    sidd.write_metadata(paths[2], sidd.Metadata(**(vars(metadata) | {"nlf": (0.0, -1.0)})))
    pair = sidd.read_pair(*paths)
    np.testing.assert_array_equal(
        sidd.unpack(pair.noise)[:2, :4], [[-0.5, -0.5, 0.5, 0.25], [-0.25, -0.5, 0.5, -0.5]]
    )
    assert pair.nlf == (1e-6, 1e-6)
    assert (pair.iso, pair.camera) == (800, "G4")


def test_what_counts_as_near_the_range(tmp_path):
    path = tmp_path / "near.MAT"
    for bad, number, refused in (
        (1.51, 1, True), (-0.51, 1, True), (1.5, 1600, False), (-0.5, 1600, False),
    ):  # fmt: skip
        image = np.full(1600, 0.5)
        image[:number] = bad
        sidd.write_raw(path, image.reshape(40, 40))
        if refused:
            with pytest.raises(sidd.SiddError, match="raw values are in"):
                sidd.read_packed(path)
        else:
            packed = sidd.read_packed(path)
            assert np.count_nonzero(packed == (bad > 0)) == number


@pytest.mark.parametrize("counts", [1023.0, 255.0, -3.0])
def test_sensor_counts_are_refused(counts, tmp_path):
    """Clipped to [0, 1] they would be a white image, or a black one."""
    path = tmp_path / "counts.MAT"
    sidd.write_raw(path, counts * np.random.default_rng(0).random((40, 40)))
    with pytest.raises(
        sidd.SiddError, match=r"counts\.MAT: raw values are in \[0, 1\].*black level"
    ):
        sidd.read_packed(path)


def test_pairs_that_do_not_fit(metadata, tmp_path):
    for name, shape in {"a": (4, 6), "b": (4, 8), "odd": (5, 6)}.items():
        sidd.write_raw(tmp_path / name, np.zeros(shape))
    sidd.write_metadata(tmp_path / "m", metadata)
    with pytest.raises(sidd.SiddError, match=r"a: image of 4 x 6 does not fit 4 x 8 of .*b"):
        sidd.read_pair(tmp_path / "a", tmp_path / "b", tmp_path / "m")
    with pytest.raises(sidd.SiddError, match=r"odd: .* even H and W; got shape \(5, 6\)"):
        sidd.read_pair(tmp_path / "odd", tmp_path / "b", tmp_path / "m")


@pytest.mark.parametrize("iso", [65535, 65536, 409600])
def test_metadata_of_a_high_iso(tmp_path, iso):
    metadata = replace(sidd.typical_metadata("S6", 3200), iso=iso)
    sidd.write_metadata(tmp_path / "m.MAT", metadata)
    assert sidd.read_metadata(tmp_path / "m.MAT", "S6").iso == iso
