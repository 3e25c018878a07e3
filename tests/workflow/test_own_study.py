"""A study of one's own photographs and captions, on any of the models."""

import csv

import pandas as pd
import pytest
from internet import make_coco
from PIL import ExifTags, Image, ImageOps
from projects import tiny

from headimpact import artifacts
from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.miniature.annotators import save_florence2, save_sam2


@pytest.fixture(scope="module")
def annotator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wer Bilder prüft")
    save_florence2(folder / "florence2")
    save_sam2(folder / "sam2")
    return {
        "name": "florence2_sam2",
        "grounder": {"checkpoint": str(folder / "florence2")},
        "segmenter": {"checkpoint": str(folder / "sam2")},
        "shards": 2,
    }


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schöne Fotos") / "coco"
    make_coco(folder)
    (folder / "annotations/instances_val2017.json").unlink()
    return folder


def config(checkpoints, dataset, annotator, *models):
    made = tiny(checkpoints, *models)
    study = made["studies"]["tiny"]
    study["dataset"], study["annotator"] = dataset, annotator
    study["sampling"] = {"images": 24, "spare": 0.5}
    study["setups"].pop("random-2")
    return made


def test_a_folder_and_a_csv_of_captions(project, checkpoints, annotator, coco, tmp_path):
    folder = CocoFolder(coco, "val2017")
    rows = list(folder.captions().drop_duplicates("image_id").head(36).itertuples())
    own = tmp_path / "meine Bilder"
    (own / "Süd").mkdir(parents=True)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    with (tmp_path / "meine Sätze.csv").open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "caption"])
        for number, row in enumerate(rows):
            name = f"Süd/{number}.jpg" if number % 2 else f"{number}.jpg"
            # every third lies on its side, as a telephone leaves it
            folder.image(row.file_name).save(own / name, **({"exif": exif} if number % 3 else {}))
            table.writerow([name, row.caption])
    dataset = {"kind": "captions", "root": str(own), "captions": str(tmp_path / "meine Sätze.csv")}
    made = project(config(checkpoints, dataset, annotator, "qwen2_vl"))
    made.run("results/tiny/table4.csv", "results/tiny/figure2.png", "results/tiny/release")
    table = pd.read_csv(made.folder / "results/tiny/table4.csv")
    assert len(table) == 4 and table.notna().all().all()
    samples = artifacts.read(made.folder / "results/tiny/samples.parquet", "samples")
    assert len(samples) == 24 and samples["file_name"].str.startswith("Süd/").any()
    dropped = artifacts.read(made.folder / "results/tiny/dropped.parquet", "dropped")
    assert not dropped["reason"].str.contains("size|damaged").any()
    assert "Nothing to be done" in made.run("results/tiny/table4.csv")
    replace_a_photograph_and_draw_the_study_again(made, own)


def replace_a_photograph_and_draw_the_study_again(made, photographs):
    """A job that reads the file names it and the command that takes the new one in."""
    target = "results/tiny/figure2.png"
    samples = artifacts.read(made.folder / "results/tiny/samples.parquet", "samples")
    for name in samples["file_name"]:
        with Image.open(photographs / name) as image:
            changed = ImageOps.invert(image.convert("RGB"))
        changed.save(photographs / name)
    done = made.snakemake("--cores", "2", target, "--forcerun", "figure2")
    (line,) = {line for line in done.stderr.splitlines() if line.startswith("figure2: ")}
    assert done.returncode != 0 and "--forcerun captions images" in line
    made.run(target, "--forcerun", "captions", "images")


def test_coco_s_layout_needs_no_masks_of_its_own(project, checkpoints, annotator, coco):
    dataset = {"kind": "coco", "root": str(coco)}
    made = project(config(checkpoints, dataset, annotator, "idefics3"))
    made.run("results/tiny/objects.parquet")
    one = artifacts.read(made.folder / "results/tiny/objects.parquet", "objects")
    # neither the number of shards nor of images at a time changes what is found
    made.config["studies"]["tiny"]["annotator"] = {**annotator, "shards": 3, "batch": 5}
    made.configure(made.config)
    made.run("results/tiny/objects.parquet")
    other = artifacts.read(made.folder / "results/tiny/objects.parquet", "objects")
    pd.testing.assert_frame_equal(one, other, atol=1e-5)
    config_without = {**made.config}
    config_without["studies"]["tiny"]["annotator"] = {"name": "instances"}
    made.configure(config_without)
    line = made.refused("results/tiny/objects.parquet")
    assert "instances_val2017.json" in line and "dataset.subset" in line


def test_coco_s_instances_need_no_captions(project, checkpoints, tmp_path):
    scenes.write(tmp_path, 26, 0, scenes.Look(), subset="val2017")
    (tmp_path / "annotations/captions_val2017.json").unlink()
    dataset = {"kind": "coco", "root": str(tmp_path)}
    made = project(config(checkpoints, dataset, {"name": "instances"}, "qwen2_vl"))
    made.run("results/tiny/questions.parquet")
    samples = artifacts.read(made.folder / "results/tiny/samples.parquet", "samples")
    assert len(samples) == 24 and samples["caption"].eq("").all()
