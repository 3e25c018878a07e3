"""config.yaml read as plain YAML and checked: every error is one line that names the key."""

from typing import Annotated, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError

from headimpact.guards import UserError
from headimpact.study.base import Keys, Name, Text, kinds_of, move_seeds
from headimpact.study.files import check_files
from headimpact.study.study import Study

MAX_VALUES = 100_000  # of a config.yaml, each counted where an alias repeats it


class Downloads(Keys):
    """What is fetched, once for all studies."""

    folder: Text = Field(
        "data",
        description="where COCO's photographs, the authors' masks and the records of fetched "
        "checkpoints are kept; checkpoints themselves lie in the hub's own cache (HF_HOME)",
    )
    coco: Text = Field(
        "http://images.cocodataset.org",
        description="or a mirror that has zips/ and annotations/ as COCO has them",
    )
    release: Text = Field(
        "https://github.com/alekosus/optimizing-mlms-icai2025",
        description="the authors' repository, or a mirror of it",
    )
    release_commit: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] = Field(
        "cc17af264b2d2cf2c474268ff646451ddc906bab", description="the whole commit"
    )


class Config(Keys):
    """config.yaml."""

    default_study: str = Field(
        description="the study that results/table1.csv and its neighbours are of"
    )
    downloads: Downloads = Downloads()
    studies: Annotated[dict[Name, Study], Field(min_length=1)]

    def study(self, name: str) -> Study:
        """The study `name`, after a check of the folders that it names; raises UserError."""
        where = f"config.yaml: studies.{name}"
        if name not in self.studies:
            raise UserError(f"{where}: missing; add it, or ask for {', '.join(self.studies)}")
        check_files(self.studies[name], where)
        return self.studies[name]


class _PlainLoader(yaml.SafeLoader):
    """YAML without tags that make objects, and without a key that stands twice in a mapping."""

    def construct_mapping(self, node, deep=False):
        names = set()
        for key, _ in node.value:
            name = (key.tag, key.value if isinstance(key.value, str) else id(key))
            if name in names and not key.tag.endswith(":merge"):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} stands twice", key.start_mark
                )
            names.add(name)
        return super().construct_mapping(node, deep)


def check_yaml(content: bytes) -> None:
    """Raise UserError, one line with the fix, unless `content` is plain YAML.

    To be called before Snakemake reads it, which makes objects of YAML's tags and, by
    __use_yte__, runs Python code in it.
    """
    try:
        tree = yaml.load(content.decode("utf-8"), _PlainLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(
            f"config.yaml: line {line}: {error.problem}; correct it, and quote text that holds a "
            f"sign of YAML's"
        ) from error
    except Exception as error:  # of several classes, by what is wrong
        raise UserError(f"config.yaml: not YAML in UTF-8 ({error}); correct it") from error
    if not isinstance(tree, dict):
        raise UserError("config.yaml: holds no keys; add default_study and studies")
    if "__use_yte__" in tree:
        raise UserError("config.yaml: __use_yte__: would run code; write what it makes instead")
    pending, count = [tree], 0
    while pending:
        value = pending.pop()
        count += 1
        if count > MAX_VALUES:
            raise UserError(f"config.yaml: more than {MAX_VALUES} values; repeat less by *")
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def parse_config(tree: dict) -> Config:
    """The configuration as typed objects; raises UserError, one line with the key and the fix.

    The seeds of a study are those that its jobs use: its `seed_offset` is added to them, and is 0
    in the result, so that the record of a study in provenance.json can be read in again.
    """
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"config.yaml: {_one_line(error.errors()[0], tree)}") from error
    except RecursionError as error:
        raise UserError("config.yaml: nested too deeply; correct it") from error
    if config.default_study not in config.studies:
        raise UserError(
            f"config.yaml: default_study: no study {config.default_study}; name one of "
            f"{', '.join(config.studies)}"
        )
    studies = {
        name: move_seeds(study, study.seed_offset).model_copy(update={"seed_offset": 0})
        for name, study in config.studies.items()
    }
    return config.model_copy(update={"studies": studies})


def _one_line(error: dict, tree: dict) -> str:
    """A pydantic error as "KEY: what is wrong; what the key means"."""
    path, meaning = _describe(error["loc"], tree)
    where, message = (
        ".".join(path),
        error["msg"].removeprefix("Input ").removeprefix("Value error, "),
    )
    if error["type"] == "headimpact":
        return ".".join([*path, message])
    if error["type"] == "missing":
        return f"{where}: missing; add it" + (f": {meaning}" if meaning else "")
    if error["type"] in ("literal_error", "union_tag_invalid"):
        known = error["ctx"].get("expected") or error["ctx"]["expected_tags"]
        known = known.replace("'", "").replace(" or ", ", ")
        value = error["input"] if error["type"] == "literal_error" else error["ctx"]["tag"]
        return f"{where}: {value!r} is not one of {known}"
    if error["type"] in ("float_type", "int_type") and isinstance(error["input"], str):
        try:  # YAML reads 1e-4 as text
            number = float(error["input"])
            return f"{where}: {error['input']!r} is text; write {number}"
        except ValueError:
            pass
    meaning = f"; {meaning}" if meaning else ""
    return f"{where}: {error['input']!r} {message}{meaning}".replace("\n", " ")


def _describe(location: tuple, tree: dict) -> tuple[list[str], str]:
    """The dotted path of an error's location as it stands in config.yaml, and the key's meaning."""
    path, meaning, kinds, value = [], "", [Config], tree
    for part in location:
        if part == "[key]":
            continue
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        items = [kind for kind in kinds if get_origin(kind) in (dict, list)]
        exists = isinstance(value, dict) and part in value
        if not (fields or items or exists):
            continue  # a branch of a union, such as the kind of a dataset
        path.append(str(part))
        value = value[part] if exists else value
        if fields:
            meaning, kinds = fields[0].description or "", kinds_of(fields[0].annotation)
        elif items:
            meaning, kinds = "", kinds_of(get_args(items[0])[-1])
    return path, meaning
