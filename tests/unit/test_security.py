"""Nothing that is read can run code: no pickles, no code of a checkpoint, no evaluated text."""

import io
import json
import pickle
import re
import tokenize
from pathlib import Path

import numpy as np
import pytest
import torch

from headimpact.dataset.release import Release
from headimpact.miniature.checkpoints import MAKERS, save
from headimpact.models.load import count_parameters, load_family, load_model
from headimpact.training.lora import load_adapter

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "pickles": r"\b(pickle|cPickle|dill|cloudpickle|joblib|shelve|marshal)\b",
    "torch.load": r"\btorch\.load\(|load_from_checkpoint\(|resume_from_checkpoint",
    "numpy's pickles": r"allow_pickle",
    "pandas' pickles": r"\bread_pickle\(|\bto_pickle\(",
    "anything but safetensors": r"use_safetensors=False|weights_only=False",
    "a checkpoint's code": r"trust_remote_code=(?!False)",
    "YAML that makes objects": r"yaml\.(unsafe_load|full_load|load|load_all)\b|UnsafeLoader",
    "text as code": r"(?<![.\w])(eval|exec|compile|__import__)\(",
    "a shell": r"shell=True|\bos\.(system|popen)\(",
}
SOURCES = [
    *(ROOT / "src").rglob("*.py"),
    *(ROOT / "workflow").rglob("*.py"),
    *(ROOT / "workflow").rglob("*.smk"),
    ROOT / "Snakefile",
]


def code_of(text):
    """A source without its comments, strings and spaces; words of one line stay apart."""
    words, behind = [], None
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING, tokenize.NEWLINE, tokenize.NL):
            words.append("\n" if "NEWLINE" in tokenize.tok_name[token.type] else "")
        elif token.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER):
            words.append(" " * (behind == token.type == tokenize.NAME) + token.string)
        behind = token.type
    return "".join(words)


def forbidden_in(text):
    code = code_of(text)
    return [what for what, pattern in FORBIDDEN.items() if re.search(pattern, code)]


def test_no_source_reads_pickles_or_runs_what_it_reads():
    assert len(SOURCES) > 90
    for path in SOURCES:
        assert forbidden_in(path.read_text(encoding="utf-8")) == [], path


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("pickles", "import pickle\n"),
        ("pickles", "from joblib import load\n"),
        ("torch.load", "x = torch.load(\n    path)\n"),
        ("torch.load", "trainer.train(resume_from_checkpoint=x)\n"),
        ("numpy's pickles", "np.load(path, allow_pickle = True)\n"),
        ("pandas' pickles", "pd.read_pickle(path)\n"),
        ("anything but safetensors", "x(use_safetensors=False)\n"),
        ("a checkpoint's code", "x(trust_remote_code=True)\n"),
        ("YAML that makes objects", "yaml.load(text, yaml.Loader)\n"),
        ("text as code", "x = eval(text)\n"),
        ("a shell", "subprocess.run(text, shell=True)\n"),
        (None, "# torch.load('x')\nmodel.eval()\nre.compile('eval(x)')\nyaml.safe_load(x)\n"),
    ],
)
def test_what_is_forbidden_is_seen(what, text):
    assert forbidden_in(text) == ([what] if what else [])


def test_checkpoints_are_read_in_one_place_that_refuses_their_code():
    found = {}
    for path in SOURCES:
        code = code_of(path.read_text(encoding="utf-8"))
        calls = re.findall(r"[\w.]*\bfrom_(?:pretrained|config)\([^)]*\)", code)
        found.update({path.name: calls} if calls else {})
    assert found == {
        "weights.py": ["auto_class.from_pretrained(folder,trust_remote_code=False,**options)"],
        "load.py": ["AutoModelForImageTextToText.from_config(config,trust_remote_code=False)"],
        "lora.py": ["PeftModel.from_pretrained(model,folder)"],
    }


class Payload:
    """Unpickled, it makes the file `path`."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture
def payload(tmp_path):
    """One that works; the test fails if it ran in the end."""
    made = Payload(tmp_path / "it-ran")
    pickle.loads(pickle.dumps(made)).close()
    Path(made.path).unlink()
    yield made
    assert not Path(made.path).exists()


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "checkpoint", *MAKERS["qwen2_vl"]())
    return tmp_path / "checkpoint"


@pytest.fixture
def unpickled(monkeypatch):
    """What torch.load was asked for, which also refuses to run most of a pickle."""
    asked = []
    monkeypatch.setattr(torch, "load", lambda *given, **_: asked.append(given) or {})
    return asked


def test_a_checkpoint_of_pickles_is_refused_unread(folder, payload, unpickled):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(payload))
    with pytest.raises(ValueError, match=r"no file named model\.safetensors"):
        load_model(folder)
    assert unpickled == []


def test_an_adapter_of_pickles_is_refused_unread(folder, payload, unpickled):
    adapter = folder.parent / "adapter"
    adapter.mkdir()
    told = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "target_modules": ["q_proj"], "r": 2}
    (adapter / "adapter_config.json").write_text(json.dumps(told))
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(payload))
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors: missing, and nothing"):
        load_adapter(load_model(folder), adapter)
    assert unpickled == []


@pytest.mark.parametrize("part", ["format", "shape", "data", "indices", "indptr"])
def test_a_mask_with_a_pickle_in_it_is_refused_unread(tmp_path, payload, part):
    parts = {"format": b"csr", "shape": np.array([2, 2]), "data": np.ones(1)}
    parts |= {"indices": np.zeros(1, np.int32), "indptr": np.array([0, 1, 1], np.int32)}
    hidden = np.empty(1, dtype=object)
    hidden[0] = payload
    (tmp_path / "masks").mkdir()
    np.savez(tmp_path / "masks/a.npz", **parts)
    assert Release(tmp_path).mask("a.npz").sum() == 1
    np.savez(tmp_path / "masks/a.npz", **{**parts, part: hidden})
    with pytest.raises(ValueError, match=r"a\.npz: not a readable mask .*; get it anew"):
        Release(tmp_path).mask("a.npz")


def with_code(folder, path):
    """A checkpoint that names code of its own for all that transformers would make of it."""
    code = f"open({str(path)!r}, 'w')\nclass Own:\n    pass\n"
    (folder / "own.py").write_text(code)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate/generate.py").write_text(code)
    edit(
        folder,
        "config",
        auto_map={"AutoConfig": "own.Own", "AutoModelForImageTextToText": "own.Own"},
    )
    edit(folder, "tokenizer_config", auto_map={"AutoTokenizer": ["own.Own", "own.Own"]})
    edit(folder, "preprocessor_config", auto_map={"AutoImageProcessor": "own.Own"})


def edit(folder, name, **values):
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture
def asked(monkeypatch):
    """What a terminal was asked; it would answer yes."""
    questions = []
    monkeypatch.setattr("builtins.input", lambda text="": questions.append(text) or "y")
    return questions


def test_the_code_of_a_checkpoint_is_not_run_where_there_is_a_class_of_transformers(
    folder, payload, asked
):
    with_code(folder, payload.path)
    assert type(load_model(folder)).__module__.startswith("transformers.models.qwen2_vl.")
    family = load_family(folder)
    for part in (family.config, family.tokenizer, family.image_processor):
        assert type(part).__module__.startswith("transformers.")
    assert count_parameters(folder)[1]["layers"] > 0
    assert asked == []


@pytest.mark.parametrize(
    ("name", "values", "reads"),
    [
        ("config", {"model_type": "own"}, (load_family, load_model, count_parameters)),
        ("preprocessor_config", {"image_processor_type": "Own"}, (load_family,)),
    ],
)
def test_a_checkpoint_that_needs_its_code_is_refused_without_a_question(
    folder, payload, asked, name, values, reads
):
    with_code(folder, payload.path)
    edit(folder, name, **values)
    for read in reads:
        with pytest.raises(ValueError, match="no code of a checkpoint is run") as error:
            read(folder)
        told = str(error.value)
        assert told.startswith(f"{folder}: ") and "\n" not in told
        assert "trust_remote_code" not in told  # the library's advice
    assert asked == []
