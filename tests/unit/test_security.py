"""No file that is read can run code: no pickles, no code of a checkpoint, no evaluated text."""

import ast
import io
import json
import pickle
import re
import tokenize
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from headimpact.dataset.release import Release
from headimpact.guards import UserError
from headimpact.miniature.checkpoints import MAKERS, save
from headimpact.models.load import count_parameters, load_family, load_model
from headimpact.study.config import _PlainLoader, check_yaml
from headimpact.training.lora import load_adapter

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "pickles": r"\b(pickle|cPickle|dill|cloudpickle|joblib|shelve|marshal)\b",
    "torch.load": r"\btorch\.load\(|load_from_checkpoint\(|resume_from_checkpoint",
    "numpy's pickles": r"allow_pickle",
    "pandas' pickles": r"\bread_pickle\(|\bto_pickle\(",
    "anything but safetensors": r"use_safetensors=False|weights_only=False",
    "a checkpoint's code": r"trust_remote_code=(?!False)",
    "YAML that makes objects": (
        r"yaml\.(unsafe_load|full_load|load_all)\b|UnsafeLoader|yaml\.load\((?!.*,_PlainLoader\))"
    ),
    "text as code": r"(?<![.\w])(eval|exec|compile|__import__)\(",
    "a shell": r"shell=True|\bos\.(system|popen)\(",
}
SOURCES = [
    *(ROOT / "src").rglob("*.py"),
    *(ROOT / "workflow").rglob("*.py"),
    *(ROOT / "workflow").rglob("*.smk"),
    ROOT / "Snakefile",
]


READERS = ("from_pretrained", "from_config")  # of checkpoints


def code_of(text):
    """A source without its comments, strings and spaces, but for those between two words."""
    words, previous = [], None
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING, tokenize.NEWLINE, tokenize.NL):
            words.append("\n" if "NEWLINE" in tokenize.tok_name[token.type] else "")
        elif token.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER):
            words.append(" " * (previous == token.type == tokenize.NAME) + token.string)
        previous = token.type
    return "".join(words)


def forbidden_in(text):
    code = code_of(text)
    return [name for name, pattern in FORBIDDEN.items() if re.search(pattern, code)]


def test_no_source_reads_pickles_or_runs_what_it_reads():
    assert {path.suffix for path in SOURCES} == {".py", ".smk", ""}
    for path in SOURCES:
        assert forbidden_in(path.read_text(encoding="utf-8")) == [], path


@pytest.mark.parametrize(
    ("name", "text"),
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
        ("YAML that makes objects", "yaml.load(text)\n"),
        (None, "yaml.load(text, _PlainLoader)\n"),
        ("text as code", "x = eval(text)\n"),
        ("a shell", "subprocess.run(text, shell=True)\n"),
        (None, "# torch.load('x')\nmodel.eval()\nre.compile('eval(x)')\nyaml.safe_load(x)\n"),
    ],
)
def test_forbidden_code_is_recognised(name, text):
    assert forbidden_in(text) == ([name] if name else [])


def test_the_configurations_yaml_makes_no_objects(payload):
    assert issubclass(_PlainLoader, yaml.SafeLoader)
    with pytest.raises(UserError, match=r"^config\.yaml: line 1: "):
        check_yaml(f"a: !!python/object/apply:builtins.open [{payload.path}, w]".encode())


def calls_that_read_checkpoints(text):
    """The calls of from_pretrained and from_config in a source, as ast.Call."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return [call for call in calls if getattr(call.func, "attr", "") in READERS]


def test_every_call_that_reads_a_checkpoint_refuses_its_code():
    calls = []
    for path in SOURCES:
        if path.suffix == ".py":
            calls += calls_that_read_checkpoints(path.read_text(encoding="utf-8"))
    # peft has no code of an adapter to run
    calls = [call for call in calls if ast.unparse(call.func.value) != "PeftModel"]
    assert calls
    for call in calls:
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert options.get("trust_remote_code") == "False", ast.unparse(call)


class Payload:
    """Unpickled, it makes the file `path`."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture
def payload(tmp_path):
    """A payload that works when it is unpickled; the test fails if that happened."""
    payload = Payload(tmp_path / "it-ran")
    pickle.loads(pickle.dumps(payload)).close()
    Path(payload.path).unlink()
    yield payload
    assert not Path(payload.path).exists()


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "checkpoint", *MAKERS["qwen2_vl"]())
    return tmp_path / "checkpoint"


@pytest.fixture
def unpickled(monkeypatch):
    """The calls of torch.load, which itself refuses to run most of a pickle."""
    calls = []
    monkeypatch.setattr(torch, "load", lambda *arguments, **_: calls.append(arguments) or {})
    return calls


def test_a_checkpoint_of_pickles_is_refused_unread(folder, payload, unpickled):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(payload))
    with pytest.raises(UserError, match=r"model\.safetensors") as error:
        load_model(folder)
    assert str(error.value).startswith(f"{folder}: ")
    assert unpickled == []


def test_an_adapter_of_pickles_is_refused_unread(folder, payload, unpickled):
    adapter = folder.parent / "adapter"
    adapter.mkdir()
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "target_modules": ["q_proj"], "r": 2}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(payload))
    with pytest.raises(UserError) as error:
        load_adapter(load_model(folder), adapter)
    assert str(error.value).startswith(f"{adapter / 'adapter_model.safetensors'}: missing")
    assert unpickled == []


@pytest.mark.parametrize("array", ["format", "shape", "data", "indices", "indptr"])
def test_a_mask_with_a_pickle_in_it_is_refused_unread(tmp_path, payload, array):
    arrays = {"format": b"csr", "shape": np.array([2, 2]), "data": np.ones(1)}
    arrays |= {"indices": np.zeros(1, np.int32), "indptr": np.array([0, 1, 1], np.int32)}
    pickled = np.empty(1, dtype=object)
    pickled[0] = payload
    (tmp_path / "masks").mkdir()
    np.savez(tmp_path / "masks/a.npz", **arrays)
    assert Release(tmp_path).mask("a.npz").sum() == 1
    np.savez(tmp_path / "masks/a.npz", **{**arrays, array: pickled})
    with pytest.raises(UserError) as error:
        Release(tmp_path).mask("a.npz")
    assert str(error.value).startswith(f"{tmp_path / 'masks/a.npz'}: ")


def with_code(folder, path):
    """Add code to a checkpoint, named for each class that transformers would load from it."""
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
def terminal_questions(monkeypatch):
    """The questions that were asked at the terminal, each answered with yes."""
    questions = []
    monkeypatch.setattr("builtins.input", lambda text="": questions.append(text) or "y")
    return questions


def test_a_class_of_transformers_is_taken_before_a_checkpoints_code(
    folder, payload, terminal_questions
):
    with_code(folder, payload.path)
    assert type(load_model(folder)).__module__.startswith("transformers.models.qwen2_vl.")
    family = load_family(folder)
    for loaded in (family.config, family.tokenizer, family.image_processor):
        assert type(loaded).__module__.startswith("transformers.")
    assert count_parameters(folder)[1]["layers"] > 0
    assert terminal_questions == []


@pytest.mark.parametrize(
    ("name", "values", "readers"),
    [
        ("config", {"model_type": "own"}, (load_family, load_model, count_parameters)),
        ("preprocessor_config", {"image_processor_type": "Own"}, (load_family,)),
    ],
)
def test_a_checkpoint_that_needs_its_code_is_refused_without_a_question(
    folder, payload, terminal_questions, name, values, readers
):
    with_code(folder, payload.path)
    edit(folder, name, **values)
    for read in readers:
        with pytest.raises(UserError) as error:
            read(folder)
        message = str(error.value)
        assert message.startswith(f"{folder}: ") and "\n" not in message
        assert "trust_remote_code" not in message  # the library's advice
    assert terminal_questions == []
