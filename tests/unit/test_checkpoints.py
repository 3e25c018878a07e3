"""A checkpoint's folder: its identity, the check of its SHA256SUMS, and its required files."""

import json
import os
from pathlib import Path

import pytest

from headimpact.checkpoints import (
    check_model_folder,
    check_sums,
    check_weights,
    decoder_layers,
    folder_identity,
    write_sums,
)
from headimpact.guards import UserError

WHERE = "config.yaml: studies.animals.models.own.checkpoint"
TYPES = ("qwen2_vl", "idefics3")
MINIATURES = Path(__file__).parents[2] / "resources/miniature"
FILES = {
    "config.json": '{"model_type": "qwen2_vl"}',
    "model.safetensors": "weights",
    "preprocessor_config.json": "{}",
    "tokenizer.json": "{}",
    "chat_template.jinja": "{{ messages }}",
}


@pytest.fixture
def folder(tmp_path):
    """A folder with the files of a complete checkpoint."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def replace_content(path, text):
    """Write text of the same size, and keep the file's modification time."""
    status = path.stat()
    assert len(text) == status.st_size
    path.write_text(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_without_sums_the_identity_depends_on_names_sizes_and_times(folder):
    identities = [folder_identity(folder), folder_identity(folder)]
    path = folder / "model.safetensors"
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    identities.append(folder_identity(folder))
    modified = path.stat().st_mtime_ns
    path.write_text("weight")
    os.utime(path, ns=(1, modified))
    identities.append(folder_identity(folder))
    path.rename(folder / "other.safetensors")
    identities.append(folder_identity(folder))
    (folder / "note").touch()
    identities.append(folder_identity(folder))
    assert identities[0] == identities[1] and len(set(identities)) == 5
    (folder / "inner").mkdir()
    assert folder_identity(folder) == identities[-1]


def test_with_sums_the_identity_depends_on_their_content(folder):
    write_sums(folder)
    identity = folder_identity(folder)
    for path in folder.iterdir():
        os.utime(path, ns=(1, 1))
    assert folder_identity(folder) == identity
    replace_content(folder / "model.safetensors", "WEIGHTS")
    write_sums(folder)
    changed = folder_identity(folder)
    assert changed != identity
    # an unlisted file enters the identity by name, size and time
    (folder / "chat_template.json").write_text("{}")
    assert folder_identity(folder) != changed


def test_sums_pass_until_a_file_differs(folder):
    check_sums(folder)
    write_sums(folder)
    check_sums(folder)
    listed = [line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    assert listed == sorted(FILES)
    replace_content(folder / "model.safetensors", "WEIGHTS")
    with pytest.raises(UserError, match=r"model\.safetensors: its SHA-256 is not .* again, or"):
        check_sums(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors: missing, but listed .* again, or"):
        check_sums(folder)


def test_sums_as_sha256sum_writes_them_pass(folder):
    write_sums(folder)
    path = folder / "SHA256SUMS"
    binary = path.read_text().replace("  ", " *")
    # what a second `sha256sum * > SHA256SUMS` writes: the hash of the file while it is empty
    path.write_text(binary + f"{'e3b0c44298fc1c14':0<64}  SHA256SUMS\n")
    check_sums(folder)
    replace_content(folder / "tokenizer.json", "[]")
    with pytest.raises(UserError, match=r"tokenizer\.json: its SHA-256"):
        check_sums(folder)


@pytest.mark.parametrize(
    "line", ["", "nothing", "\0  a", "0000  gone", "0000  ../config.json", "0000  /etc/hostname"]
)
def test_lines_that_name_no_file_of_the_folder_are_refused(folder, line):
    (folder / "SHA256SUMS").write_text(line + "\n")
    with pytest.raises(UserError, match=r"SHA256SUMS.*; ") as error:
        check_sums(folder)
    assert "\n" not in str(error.value)


def test_a_right_hash_of_a_file_elsewhere_is_refused(folder):
    write_sums(folder)
    (folder / "inner").mkdir()
    sums = (folder / "SHA256SUMS").read_text().replace("  ", "  ../")
    (folder / "inner/SHA256SUMS").write_text(sums)
    with pytest.raises(UserError, match="is no file beside it"):
        check_sums(folder / "inner")


@pytest.mark.parametrize("name", ["idefics3", "paligemma2", "qwen2_vl"])
def test_the_miniatures_are_complete_and_match_their_sums(name):
    folder = MINIATURES / name
    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    check_sums(folder)
    types = ("paligemma", "qwen2_vl", "idefics3")
    check_model_folder(WHERE, folder, types, chat=name != "paligemma2")
    assert decoder_layers(WHERE, folder) == 16


def assert_refused(folder, message, chat=True):
    """Assert that the folder is refused in a line with its path, `message` and a fix."""
    with pytest.raises(UserError) as error:
        check_model_folder(WHERE, folder, TYPES, chat)
    text = str(error.value)
    assert text.startswith(f"{WHERE}: ") and message in text and "\n" not in text, text
    assert "; " in text and str(folder) in text


def test_a_complete_folder_passes(folder):
    check_model_folder(WHERE, folder, TYPES, chat=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "no config.json in"),
        ("model.safetensors", "no safetensors in"),
        ("preprocessor_config.json", "no preprocessor_config.json or processor_config.json in"),
        ("tokenizer.json", "no tokenizer.json or tokenizer.model or vocab.json and merges.txt in"),
        ("chat_template.jinja", "no chat template in"),
    ],
)
def test_each_missing_file_is_named(folder, name, message):
    (folder / name).unlink()
    assert_refused(folder, message)


def test_a_family_without_a_chat_needs_no_template(folder):
    (folder / "chat_template.jinja").unlink()
    check_model_folder(WHERE, folder, TYPES, chat=False)


@pytest.mark.parametrize("names", [["tokenizer.model"], ["vocab.json", "merges.txt"]])
def test_each_set_of_tokenizer_files_is_accepted(folder, names):
    (folder / "tokenizer.json").unlink()
    for name in names:
        assert_refused(folder, "no tokenizer.json or")
        (folder / name).touch()
    check_model_folder(WHERE, folder, TYPES, chat=True)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("chat_template.json", '{"chat_template": "x"}'),
        ("processor_config.json", '{"chat_template": "x"}'),
        ("tokenizer_config.json", '{"chat_template": [{"name": "default", "template": "x"}]}'),
        ("additional_chat_templates/default.jinja", "x"),
    ],
)
def test_a_chat_template_is_accepted_in_each_file_that_may_hold_it(folder, name, text):
    (folder / "chat_template.jinja").unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    if name.endswith(".json"):
        assert_refused(folder, "no chat template in")
        (folder / name).write_text("{")
        assert_refused(folder, f"{name} cannot be read")
    (folder / name).write_text(text)
    check_model_folder(WHERE, folder, TYPES, chat=True)


@pytest.mark.parametrize("text", ["", "{", "\xff", "[" * 100_000])
def test_a_configuration_that_cannot_be_read_is_named(folder, text):
    (folder / "config.json").write_text(text, encoding="latin-1")
    assert_refused(folder, "config.json cannot be read")
    with pytest.raises(UserError, match=r"^config\.yaml: .*config\.json cannot be read"):
        decoder_layers(WHERE, folder)


@pytest.mark.parametrize("value", ["bert", None, ["qwen2_vl"], 3])
def test_a_model_of_another_type_is_refused(folder, value):
    (folder / "config.json").write_text(json.dumps({"model_type": value}))
    assert_refused(folder, f"is of model type {value}, not qwen2_vl or idefics3; name another")
    (folder / "config.json").write_text("[]")
    assert_refused(folder, "is of model type None")


def test_all_shards_of_the_index_must_exist(folder):
    index = folder / "model.safetensors.index.json"
    names = ["model-1.safetensors", "model-2.safetensors"]
    index.write_text(json.dumps({"weight_map": {"a": names[0], "b": names[1], "c": names[0]}}))
    for name in names:
        assert_refused(folder, f"{name} is missing, of the 2 files in model.safetensors.index.json")
        (folder / name).touch()
    check_weights(WHERE, folder, TYPES)
    for text in ("{}", '{"weight_map": [1]}', '{"weight_map": {"a": 1}}', "[]"):
        index.write_text(text)
        assert_refused(folder, "has no weight_map; download the checkpoint again")
    index.write_text("{")
    assert_refused(folder, "model.safetensors.index.json cannot be read")


def test_weights_alone_need_neither_tokenizer_nor_processor(folder):
    for name in ("preprocessor_config.json", "tokenizer.json", "chat_template.jinja"):
        (folder / name).unlink()
    check_weights(WHERE, folder, TYPES)


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({"num_hidden_layers": 3}, 3),
        ({"num_hidden_layers": 9, "text_config": {"num_hidden_layers": 3}}, 3),
        ({"text_config": 3}, None),
        ({}, None),
    ],
)
def test_decoder_layers_are_those_of_the_text_model(folder, config, layers):
    (folder / "config.json").write_text(json.dumps(config))
    assert decoder_layers(WHERE, folder) == layers


@pytest.mark.parametrize("value", ["many", 2.0, True, []])
def test_a_number_of_layers_that_is_no_integer_is_refused(folder, value):
    (folder / "config.json").write_text(json.dumps({"num_hidden_layers": value}))
    with pytest.raises(UserError, match=r"^config\.yaml: .*: num_hidden_layers is .*; correct it"):
        decoder_layers(WHERE, folder)
