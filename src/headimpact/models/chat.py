"""The conversation of families that have a chat template."""

import json
from pathlib import Path

from headimpact.guards import UserError
from headimpact.models.family import Family


class ChatFamily(Family):
    """A family whose checkpoint carries a chat template."""

    def conversation(self, grid, user, answer):
        turns = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": user}]},
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        ]
        if not self.tokenizer.chat_template:
            raise UserError(
                "the checkpoint has no chat template; put its chat_template.jinja in its folder"
            )
        try:
            text = self.tokenizer.apply_chat_template(turns, tokenize=False)
        except Exception as error:  # of Jinja, by what is damaged
            raise UserError(
                f"the chat template cannot be filled ({error}); get chat_template.jinja anew"
            ) from error
        if text.count(self.image_text) != 1:
            raise UserError(f"the chat template does not write {self.image_text} for an image")
        return text.replace(self.image_text, self.placeholder(grid))


def chat_template(folder):
    """The chat template that a checkpoint's processor carries (str), or None.

    It lies in chat_template.jinja, in chat_template.json or in processor_config.json, by the
    checkpoint's age; a tokenizer knows the first of these files alone, and its own configuration.
    """
    folder = Path(folder)
    for name in ("chat_template.jinja", "chat_template.json", "processor_config.json"):
        if not (folder / name).is_file():
            continue
        try:
            told = (folder / name).read_text(encoding="utf-8")
            if name == "chat_template.jinja":
                return told
            told = dict(json.loads(told))
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(
                f"{folder / name}: not JSON or not UTF-8 ({error}); get it anew"
            ) from error
        if told.get("chat_template"):
            return told["chat_template"]
    return None
