"""Reading a damaged file gives valid values, or an error of one line that names the file.

The environment variable HEADIMPACT_FUZZ sets how many random examples each test draws. Without it
they are few, and the same in every run.
"""

import copy
import json
import os
import resource
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from headimpact import artifacts
from headimpact.annotate import instances as by_instances
from headimpact.annotate import release as by_release
from headimpact.dataset import captions, scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.masks import decode, encode, from_segmentation
from headimpact.dataset.release import Release
from headimpact.dataset.release import write as write_release
from headimpact.guards import UserError
from headimpact.study.config import check_yaml, parse_config

ROOT = Path(__file__).parents[2]
EXAMPLES = int(os.environ.get("HEADIMPACT_FUZZ", 0))
fuzz = settings(
    max_examples=EXAMPLES or 60,
    derandomize=not EXAMPLES,
    database=None,
    deadline=10_000,  # milliseconds
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def limited_memory():
    """A test may allocate 2 GiB more, so that no file makes a reader use more."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def errors_name(*names):
    """Accept a ValueError whose message is one line and contains one of `names`."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        assert "\n" not in text and any(str(name) in text for name in names), text


@st.composite
def damaged_bytes(draw, original):
    """`original` with up to four changes: bytes flipped, written, inserted, dropped or cut off."""
    content = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.sampled_from([1, 1, 2, 4, 8, 64]))
        kind = draw(st.sampled_from(["flip", "write", "insert", "drop", "repeat", "cut"]))
        if kind == "flip" and content:
            content[position] ^= 1 << draw(st.integers(0, 7))
        elif kind in ("write", "insert"):
            unusual = st.sampled_from([b"\0", b"\xff", b"\x7f\xff\xff\xff", b'"', b"[", b"{", b","])
            new = draw(unusual | st.binary(min_size=1, max_size=length))
            content[position : position + (len(new) if kind == "write" else 0)] = new
        elif kind == "drop":
            del content[position : position + length]
        elif kind == "repeat":
            content[position:position] = content[position : position + length]
        else:
            del content[position:]
    return bytes(content)


UNUSUAL_TEXTS = [
    "",
    "\0",
    "../x",
    "/etc/passwd",
    "a\\b",
    "a\nb",
    "x" * 300,
    "\ud800",
    "{x.__class__}",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.integers()
    | st.sampled_from([1 << 16, 1 << 31, 1 << 63, 10**30, -1, 1.0, 1e300])
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(UNUSUAL_TEXTS)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def value_paths(tree, path=()):
    """The path, a tuple of keys, of every value in a tree of dicts and lists."""
    yield path
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from value_paths(tree[key], (*path, key))


@st.composite
def changed_tree(draw, tree, values=JSON, keys=None):
    """`tree` with up to three changes: values replaced, dropped or added."""
    tree = {"": copy.deepcopy(tree)}
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(list(value_paths(tree[""], ("",)))))
        parent = tree
        for key in path:
            parent = parent[key]
        kind = draw(st.sampled_from(["replace", "replace", "drop", "add"]))
        if kind == "drop" and path:
            del parent[last]
        elif kind == "add" and isinstance(parent[last], dict):
            parent[last][draw(st.text(max_size=4) if keys is None else keys)] = draw(values)
        elif kind == "add" and isinstance(parent[last], list):
            parent[last].append(draw(values | st.sampled_from(parent[last] or [None])))
        else:
            parent[last] = draw(values)
    return tree[""]


@pytest.fixture(scope="module")
def small_data(tmp_path_factory):
    """Three scenes in COCO's layout, and their instances as a release of the authors' layout."""
    root = tmp_path_factory.mktemp("kleine Fälle")
    scenes.write(root / "coco", 3, 1, scenes.Look())
    folder = CocoFolder(root / "coco", "scenes")
    images = folder.captions().drop_duplicates("image_id", ignore_index=True)
    annotations, _ = by_instances.annotate(
        folder, images, "{category}", by_instances.read_instances(folder, images)
    )
    write_release(root / "release", images, annotations, "images")
    return folder, images


@contextmanager
def replaced_content(path, content):
    """Replace a file's content for the duration."""
    before = path.read_bytes()
    try:
        path.write_bytes(content)
        yield
    finally:
        path.write_bytes(before)


def fits(kind, table):
    """Write the table, which fails if its values do not fit the kind's columns."""
    with tempfile.TemporaryDirectory() as folder:
        artifacts.write(Path(folder, "table"), kind, table[artifacts.columns(kind)])


def read_coco(folder):
    with errors_name(folder.root):
        images = folder.captions().drop_duplicates("image_id", ignore_index=True)
        fits("images", images.assign(annotator="instances", sha256=""))
        annotations, dropped = by_instances.annotate(
            folder, images.head(5), "{category}", by_instances.read_instances(folder, images)
        )
        fits("annotations", annotations)
        fits("dropped", dropped)
        for row in annotations.merge(images, on="image_id").itertuples():
            assert decode(row.mask, row.height, row.width).shape == (row.height, row.width)


def annotations_path(small_data, kind):
    return small_data[0].root / f"annotations/{kind}_scenes.json"


@pytest.mark.parametrize("kind", ["captions", "instances"])
@fuzz
@given(data=st.data())
def test_coco_with_any_value_anywhere(small_data, kind, data):
    path = annotations_path(small_data, kind)
    tree = json.loads(path.read_bytes())
    for key in ("annotations", "categories"):
        tree[key] = tree.get(key, [])[:4]
    with replaced_content(path, json.dumps(data.draw(changed_tree(tree))).encode()):
        read_coco(small_data[0])


@pytest.mark.parametrize("kind", ["captions", "instances"])
@fuzz
@given(data=st.data())
def test_coco_with_any_bytes(small_data, kind, data):
    path = annotations_path(small_data, kind)
    with replaced_content(path, data.draw(damaged_bytes(path.read_bytes()))):
        read_coco(small_data[0])


def read_release(small_data):
    folder, images = small_data
    release = Release(folder.root.parent / "release")
    with errors_name(release.root):
        fits("images", release.samples().assign(width=1, height=1, annotator="release", sha256=""))
        annotations, dropped = by_release.annotate(folder, images, release.root)
        fits("annotations", annotations)
        fits("dropped", dropped)


@fuzz
@given(data=st.data())
def test_the_release_with_any_value_anywhere(small_data, data):
    path = small_data[0].root.parent / "release/dataset_masks.json"
    with replaced_content(
        path, json.dumps(data.draw(changed_tree(json.loads(path.read_bytes())))).encode()
    ):
        read_release(small_data)


@fuzz
@given(data=st.data())
def test_the_release_with_any_bytes(small_data, data):
    path = small_data[0].root.parent / "release/dataset_masks.json"
    with replaced_content(path, data.draw(damaged_bytes(path.read_bytes()))):
        read_release(small_data)


@fuzz
@given(data=st.data())
def test_a_mask_of_the_release_with_any_bytes(small_data, data):
    path = small_data[0].root.parent / "release/masks/e0o0m0.npz"
    release = Release(path.parents[1])
    expected = release.mask(path.name)
    with replaced_content(path, data.draw(damaged_bytes(path.read_bytes()))), errors_name(path):
        assert (release.mask(path.name) == expected).all()


def library_mask(counts, height, width):
    """The mask as pycocotools decodes it, which checks nothing."""
    return coco_mask.decode({"size": [height, width], "counts": counts}).astype(bool)


RLE_COUNTS = st.text(alphabet=[chr(code) for code in range(48, 112)], max_size=12)


@fuzz
@given(RLE_COUNTS, st.integers(1, 9), st.integers(1, 9))
@example("0" * 8, 1, 1)
def test_a_decoded_mask_equals_that_of_pycocotools(counts, height, width):
    try:
        mask = decode(counts, height, width)
    except ValueError as error:
        assert "RLE" in str(error)
    else:
        assert (mask == library_mask(counts, height, width)).all()


@fuzz
@given(data=st.data())
def test_a_damaged_mask_is_refused_or_decoded_as_pycocotools_does(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    counts = encode(rng.random((7, 5)) < 0.5)
    text = data.draw(damaged_bytes(counts.encode())).decode("latin-1")
    try:
        mask = decode(text, 7, 5)
    except ValueError as error:
        assert "RLE" in str(error)
    else:
        assert (mask == library_mask(text, 7, 5)).all()


CORNERS = st.lists(st.floats(-20, 20) | st.integers(-20, 20), min_size=6, max_size=12)


@fuzz
@given(st.lists(CORNERS, min_size=1, max_size=3), st.integers(1, 9), st.integers(1, 9))
def test_masks_of_polygons_equal_those_of_pycocotools(polygons, height, width):
    try:
        counts = from_segmentation(polygons, height, width)
    except ValueError:
        outside = max(abs(v) for p in polygons for v in p) > 2 * max(height, width)
        assert outside or any(len(p) % 2 for p in polygons)
    else:
        expected = coco_mask.decode(coco_mask.frPyObjects(polygons, height, width)).any(axis=2)
        assert (decode(counts, height, width) == expected).all()


@fuzz
@given(
    st.fixed_dictionaries(
        {}, optional={"size": JSON | st.just([5, 7]), "counts": JSON | RLE_COUNTS}
    )
    | st.lists(st.lists(SCALARS, max_size=8), max_size=3)
    | JSON
)
def test_any_segmentation_is_refused_or_a_mask_of_its_size(segmentation):
    try:
        counts = from_segmentation(segmentation, 5, 7)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert decode(counts, 5, 7).shape == (5, 7)


TABLE = 'file,caption\na.jpg,A dog\nsüd/b.png,"Ein Schiff, das fährt"\na.jpg,x\n'


@fuzz
@given(damaged_bytes(TABLE.encode()))
def test_a_table_of_captions_with_any_bytes(small_data, content):
    root = small_data[0].root.parent / "Bilder"
    (root / "süd").mkdir(parents=True, exist_ok=True)
    for name in ("a.jpg", "süd/b.png"):
        Image.new("RGB", (5, 4)).save(root / name)
    table, out = root / "captions.csv", root / "out/annotations/captions_images.json"
    table.write_bytes(content)
    with errors_name(table):
        captions.write(out, table, root)
        rows = CocoFolder(root / "out", "images", images=root, upright=True).captions()
        assert set(rows["file_name"]) <= {"a.jpg", "süd/b.png"} and len(rows)


def pictures():
    """Small files of each format, with EXIF, transparency, a palette, 16 bits and progression."""
    exif = Image.Exif()
    exif[0x0112] = 6
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (9, 13, 3), dtype=np.uint8))
    yield "a.jpg", picture, {"exif": exif, "quality": 60}
    yield "b.jpg", picture, {"progressive": True}
    yield "c.jpg", picture.convert("CMYK"), {}
    yield "d.png", picture, {"exif": exif}
    yield "e.png", picture.convert("P"), {"transparency": 3}
    yield "f.png", Image.fromarray(rng.integers(0, 1 << 16, (9, 13), dtype=np.uint16)), {}
    yield "g.png", picture.convert("LA"), {}
    yield "h.webp", picture, {"exif": exif}
    yield "i.webp", picture.convert("RGBA"), {"lossless": True}


PICTURES = {name: (picture, options) for name, picture, options in pictures()}


@pytest.mark.parametrize("name", PICTURES)
@fuzz
@given(data=st.data())
def test_an_image_with_any_bytes(tmp_path_factory, name, data):
    root = tmp_path_factory.getbasetemp() / "Fotos"
    root.mkdir(exist_ok=True)
    picture, options = PICTURES[name]
    picture.save(root / name, **options)
    (root / name).write_bytes(data.draw(damaged_bytes((root / name).read_bytes())))
    table = root / "captions.csv"
    table.write_text(f"file,caption\n{name},x\n")
    with errors_name(root / name):
        assert CocoFolder(root, "x", images=root, upright=True).image(name).mode == "RGB"
    with errors_name(table):
        captions.write(root / "out.json", table, root)


@pytest.mark.parametrize("name", PICTURES)
def test_a_truncated_image_is_refused_or_read_completely(tmp_path, name):
    picture, options = PICTURES[name]
    path, folder = tmp_path / name, CocoFolder(tmp_path, "x", images=tmp_path, upright=True)
    picture.save(path, **options)
    content, expected, read = path.read_bytes(), folder.image(name), 0
    for end in range(0, len(content), 3):
        path.write_bytes(content[:end])
        with errors_name(f"{path}: not a readable image"):
            assert folder.image(name) == expected
            read += 1
    assert read <= 8  # only the end marker is cut off


SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
KEYS = sorted({key for path in value_paths(SHIPPED) for key in path if isinstance(key, str)})


def configuration_error(content):
    """The error with which a run with this config.yaml (bytes) ends before any job, or None."""
    try:
        check_yaml(content)
        config = parse_config(yaml.safe_load(content))
        for name in config.studies:
            config.study(name).runs()
    except UserError as error:
        return str(error)


@pytest.fixture
def in_project_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_the_shipped_configuration_is_accepted(in_project_root):
    assert configuration_error((ROOT / "config.yaml").read_bytes()) is None


def check_message(error):
    """Assert that an error is one line that names config.yaml."""
    assert error is None or (error.startswith("config.yaml: ") and "\n" not in error), error


@fuzz
@given(changed_tree(SHIPPED, JSON, st.sampled_from(KEYS) | st.text(max_size=4)))
def test_a_configuration_with_any_value_anywhere(in_project_root, config):
    try:
        content = yaml.safe_dump(config, allow_unicode=True).encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot encode
        return
    check_message(configuration_error(content))


@fuzz
@given(damaged_bytes((ROOT / "config.yaml").read_bytes()))
def test_a_configuration_with_any_bytes(in_project_root, content):
    check_message(configuration_error(content))


MODEL = {"model_type": "qwen2_vl", "text_config": {"num_hidden_layers": 3}}


def study_with(checkpoint):
    model = {"title": "m", "checkpoint": str(checkpoint)}
    dataset = {"kind": "scenes", "images": 3000}
    study = {"title": "s", "dataset": dataset, "models": {"m": model}, "setups": SETUPS}
    return yaml.safe_dump({"default_study": "s", "studies": {"s": study}}).encode()


SETUPS = {"original": {"layers": "none"}, "top-2": {"layers": "top", "count": 2}}


@fuzz
@given(
    st.binary(max_size=20)
    | damaged_bytes(json.dumps(MODEL).encode())
    | changed_tree(MODEL).map(lambda tree: json.dumps(tree).encode())
)
@example(b"[" * 100_000)
@example(b'{"model_type": "qwen2_vl", "text_config": 3}')
@example(b'{"model_type": "qwen2_vl", "num_hidden_layers": "many"}')
@example(b'{"model_type": "qwen2_vl", "num_hidden_layers": NaN}')
@example(b'{"model_type": ["qwen2_vl"]}')
def test_a_checkpoint_whose_configuration_has_any_value_anywhere(small_data, content):
    folder = small_data[0].root / "ein Modell"
    folder.mkdir(exist_ok=True)
    for name in ("model.safetensors", "preprocessor_config.json", "tokenizer.json"):
        (folder / name).touch()
    (folder / "chat_template.jinja").touch()
    (folder / "config.json").write_bytes(content)
    check_message(configuration_error(study_with(folder)))
