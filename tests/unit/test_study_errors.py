"""What a study refuses: bad keys, missing files, and setups that a checkpoint has no layers for."""

import json

import pytest
from studies import BASE, assert_refused, study

from headimpact.guards import UserError
from headimpact.study.config import parse_config
from headimpact.study.files import check_files


@pytest.mark.parametrize(
    ("section", "key", "changes"),
    [
        ("", "lorra", {"lorra": 1}),
        ("methods.lora.", "rnk", {"methods": {"lora": {"rnk": 4}}}),
        ("methods.lora.", "rank", {"methods": {"lora": {"rank": "eight"}}}),
        ("methods.lora.", "rank", {"methods": {"lora": {"rank": True}}}),
        ("methods.lora.", "dropout", {"methods": {"lora": {"dropout": float("nan")}}}),
        ("scores.strict.", "kind", {"scores": {"strict": {}}}),
        ("scores.hi.", "mask_share", {"scores": {"hi": {"kind": "head_impact", "mask_share": 2}}}),
        ("scores.cka.", "images", {"scores": {"head_impact": {}, "cka": {"images": 2}}}),
        ("", "scores", {"scores": {}}),
        ("", "models", {"models": {}}),
        ("setups.a.", "layers", {"setups": {"a": {"layers": "best"}}}),
        ("setups.a.", "count", {"setups": {"a": {"layers": "top"}}}),
        ("setups.a.", "cuont", {"setups": {"a": {"layers": "top", "count": 1, "cuont": 2}}}),
        ("setups.a.", "by", {"setups": {"a": {"layers": "top", "count": 1, "by": "x"}}}),
        ("setups.a.", "rule", {"setups": {"a": {"layers": "random", "count": 1, "rule": "x"}}}),
        ("setups.a.", "to", {"setups": {"a": {"layers": "matched"}}}),
        ("setups.a.", "count", {"setups": {"a": {"layers": "matched", "count": 1, "to": "b"}}}),
        ("setups.a.", "method", {"setups": {"a": {"layers": "all", "method": "x"}}}),
        ("setups.", "a", {"setups": {"a": {"layers": "none"}}}),
        ("setups.", "original", {"setups": {"original": {"layers": "all"}}}),
        ("setups.", "b", {"setups": {"b": {"layers": "published"}}}),
        ("models.own.", "published", {"setups": {"top-4": {"layers": "published"}}}),
        ("variants.v.", "rate", {"variants": {"v": {"rate": 1}}}),
        ("variants.", "default", {"variants": {"default": {"epochs": 1}}}),
        ("training.", "learning_rate", {"training": {"learning_rate": "1e-4"}}),
        ("training.", "learning_rate", {"training": {"learning_rate": float("inf")}}),
        ("training.", "epochs", {"training": {"epochs": 0}}),
        ("sampling.", "images", {"sampling": {"images": 10}}),
        ("sampling.", "images", {"sampling": {"images": 9.5}}),
        ("", "device", {"device": "gpu"}),
        ("", "seed_offset", {"seed_offset": -1}),
        ("", "seed_offset", {"seed_offset": 2**31}),
        ("", "dataset", {"dataset": {"kind": "photos"}}),
        ("dataset.", "images", {"dataset": {"kind": "scenes"}}),
        ("dataset.", "root", {"dataset": {"kind": "coco", "subset": "train2017"}}),
        ("dataset.", "root", {"dataset": {"kind": "coco", "root": "~/coco"}}),
        ("models.own.", "checkpoint", {"models": {"own": {"title": "a", "checkpoint": "~/b"}}}),
        ("dataset.", "subset", {"dataset": {"kind": "coco", "root": "a", "subset": "b/"}}),
        (
            "dataset.look.",
            "textures",
            {"dataset": {"kind": "scenes", "images": 9, "look": {"textures": 1}}},
        ),
        ("annotator.", "name", {"annotator": {"name": "sam3"}}),
        ("annotator.", "impact", {"annotator": {"impact": "sam3"}}),
        ("annotator.", "release", {"annotator": {"name": "instances", "release": "x"}}),
        ("annotator.", "grounder", {"annotator": {"name": "florence2_sam2", "grounder": {}}}),
        ("annotator.", "name", {"dataset": {"kind": "captions", "root": "a", "captions": "b"}}),
        ("models.own.", "title", {"models": {"own": {"checkpoint": "a/b"}}}),
        ("models.", "a b", {"models": {"a b": {"title": "a", "checkpoint": "a/b"}}}),
        (
            "models.two.",
            "title",
            {"models": {n: {"title": "same", "checkpoint": "a/b"} for n in ("one", "two")}},
        ),
    ],
)
def test_a_bad_key_is_named_in_one_line(section, key, changes):
    assert_refused(section, key, **changes)


def test_an_error_lists_the_known_keys_or_a_valid_value():
    assert "rank, alpha, dropout, targets" in assert_refused(
        "methods.lora.", "x", methods={"lora": {"x": 1}}
    )
    assert "1e-4" in assert_refused(
        "training.", "learning_rate", training={"learning_rate": "1e-4"}
    )


def test_a_missing_default_study_is_named():
    with pytest.raises(UserError, match=r"^config\.yaml: default_study: "):
        parse_config({**BASE, "default_study": "t"})


CONFIG = {"model_type": "qwen2_vl", "text_config": {"num_hidden_layers": 3}}


def checkpoint(folder, config=CONFIG):
    """A folder with all the files of a checkpoint, empty except its configuration."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("model.safetensors", "preprocessor_config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "chat_template.jinja").write_text("text")
    return str(folder)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(
    ("setup", "key"),
    [
        ({"layers": "top", "count": 4}, "count"),
        ({"layers": "random", "count": 2, "rule": "paper"}, "count"),
        ({"layers": "random", "count": 4}, "count"),
        ({"layers": "uniform", "count": 4}, "count"),
        ({"layers": [0, 3]}, "layers"),
    ],
)
def test_a_setup_with_more_layers_than_the_decoder_is_refused(tmp_path, flat, setup, key):
    config = {"model_type": "qwen2_vl", "num_hidden_layers": 3} if flat else CONFIG
    models = {"own": {"title": "own", "checkpoint": checkpoint(tmp_path / "own", config)}}
    check_files(study(models=models, setups={"a": {"layers": "top", "count": 3}}), "here")
    with pytest.raises(
        UserError, match=rf"^here\.setups\.a\.{key}: needs a decoder of [46] layers"
    ):
        check_files(study(models=models, setups={"a": setup}), "here")


def test_missing_folders_are_named(tmp_path, monkeypatch):
    for path, start in (("./nowhere", "no folder"), ("nowhere", "nowhere is neither")):
        models = {"own": {"title": "own", "checkpoint": path}}
        with pytest.raises(UserError, match=rf"^here\.models\.own\.checkpoint: {start}"):
            check_files(study(models=models), "here")
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^here\.models\.own\.checkpoint: no folder a/checkpoint"):
        models = {"own": {"title": "own", "checkpoint": "a/checkpoint"}}
        check_files(study(models=models), "here")
    with pytest.raises(UserError, match="File name too long"):
        models = {"own": {"title": "own", "checkpoint": "./" + "x" * 300}}
        check_files(study(models=models), "here")
    captions = {"kind": "captions", "root": str(tmp_path), "captions": "nowhere.csv"}
    annotator = {"name": "florence2_sam2"}
    with pytest.raises(UserError, match=r"^here\.dataset\.captions: no nowhere\.csv"):
        check_files(study(dataset=captions, annotator=annotator), "here")
