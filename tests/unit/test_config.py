"""What a checkpoint's folder must hold is looked at before any job."""

import json

import pytest

from headimpact.config import check_study


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
    with pytest.raises(ValueError, match=r"^config\.yaml: studies\.s\.") as error:
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
