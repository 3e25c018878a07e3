"""What config.yaml and a checkpoint's folder must hold is looked at before any job."""

import json

import pytest

from headimpact.config import check_study, check_tree, check_yaml


def study(folder):
    return {
        "dataset": {"kind": "scenes", "images": 9},
        "annotator": {"name": "instances", "impact": None},
        "sampling": {"images": 9, "proportions": {"impact": 1, "train": 1}},
        "models": {
            "own": {
                "title": "own",
                "checkpoint": str(folder),
                "configuration": None,
                "published": None,
            }
        },
        "layer_choice": "computed",
        "setups": {"original": {"layers": "none"}, "top-2": {"layers": "top", "count": 2}},
    }


CONFIG = {"model_type": "qwen2_vl", "text_config": {"num_hidden_layers": 3}}


def refused(folder, told):
    with pytest.raises(ValueError, match=r"^config\.yaml: studies\.s[.:]") as error:
        check_study("s", study(folder))
    assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("processor", ["preprocessor_config.json", "processor_config.json"])
def test_a_folder_is_a_checkpoint_once_all_is_there(tmp_path, processor):
    refused(tmp_path, "models.own.checkpoint: ")
    (tmp_path / "config.json").write_text("{")
    refused(tmp_path, "config.json cannot be read")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    refused(tmp_path, "is of model type bert, not idefics3 or paligemma or qwen2_vl; name another")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "pytorch_model.bin").touch()
    refused(tmp_path, "no safetensors in")
    (tmp_path / "model.safetensors").touch()
    refused(tmp_path, "no preprocessor_config.json or processor_config.json in")
    (tmp_path / processor).write_text("{}")
    check_study("s", study(tmp_path))


@pytest.mark.parametrize("flat", [False, True])
def test_no_setup_trains_more_layers_than_there_are(tmp_path, flat):
    config = {"model_type": "qwen2_vl", "num_hidden_layers": 3} if flat else CONFIG
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "preprocessor_config.json").write_text("{}")
    wanted = study(tmp_path)
    check_study("s", wanted)
    wanted["setups"]["top-2"]["count"] = 4
    with pytest.raises(ValueError, match="4 top layers want a decoder of 4, own has 3; lower it"):
        check_study("s", wanted)
    # a random draw takes neither top nor bottom
    wanted["setups"] = {"random-2": {"layers": "random", "count": 2}}
    with pytest.raises(ValueError, match="2 random layers want a decoder of 6, own has 3"):
        check_study("s", wanted)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: !!python/object/apply:os.system [x]", "line 1: could not determine a constructor"),
        (b"a: 1\nb: !!python/name:os.system", "line 2: could not determine a constructor"),
        (b"a: 1\n\tb: 2", "line 2: found character"),
        (b"a: b: c", "line 1: mapping values are not allowed here; correct it, what holds a sign"),
        (b"a: *b", "line 1: found undefined alias 'b'"),
        (b"{[1]: 2}: 3", "line 1: found unhashable key"),
        ("a: schön".encode("latin-1"), "not YAML in UTF-8"),
        (b"a: \0", "not YAML in UTF-8"),
        (b"a: 2020-02-30", "not YAML in UTF-8 (day is out of range for month); correct it"),
        (b"a: !!bool maybe", "not YAML in UTF-8"),
        (b"a: " + b"[" * 5000, "not YAML in UTF-8 (maximum recursion depth"),
        *((content, "holds no keys") for content in (b"", b"- 1", b"text")),
        (b"__use_yte__: true\n?exit(): 1", "__use_yte__: would run code; write what it makes"),
        # small, and of 10 ** 9 values; and without end
        (
            b"a0: &a0 [x, x]\n"
            + b"".join(
                b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 10))
                for i in range(1, 10)
            ),
            "more than 100000 values; repeat less by *",
        ),
        (b"a: &a {b: *a}", "more than 100000 values; repeat less by *"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_not_plain_yaml_is_told_in_a_line(content, told):
    with pytest.raises(ValueError, match=r"^config\.yaml: ") as error:
        check_yaml(content)
    assert told in str(error.value)


def test_aliases_are_plain_yaml():
    check_yaml("a: &a {b: schön}\nc: {<<: *a}\nd: *a\n".encode())


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({1: 2}, "config.yaml: 1: a key that is no text; quote it"),
        ({"a": {"b": [{True: 2}]}}, "config.yaml: a.b.0.True: a key that is no text; quote it"),
        ({"a": [{None: 1}]}, "config.yaml: a.0.None: a key that is no text; quote it"),
        ({"a": {"b": float("nan")}}, "config.yaml: a.b: nan is no number; correct it"),
        ({"a": [1, float("-inf")]}, "config.yaml: a.1: -inf is no number; correct it"),
    ],
)
def test_what_a_schema_cannot_refuse_is_told(tree, told):
    with pytest.raises(ValueError) as error:
        check_tree(tree)
    assert str(error.value) == told


def test_a_whole_number_is_one_however_it_is_written():
    tree = {"a": 2.0, "b": [3.0, 0.5, {"c": 1e3}], "d": "4.0", "e": True}
    check_tree(tree)
    assert repr(tree) == "{'a': 2, 'b': [3, 0.5, {'c': 1000}], 'd': '4.0', 'e': True}"


def test_a_path_that_cannot_be_one_is_told(tmp_path):
    refused("./" + "x" * 300, f"{'x' * 300}: File name too long; correct the path")
