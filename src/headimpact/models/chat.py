"""Conversations of families that have a chat template."""

import json
from pathlib import Path

from headimpact.guards import UserError
from headimpact.models.family import Family, TokenGrid


class ChatFamily(Family):
    """A family whose checkpoint carries a chat template."""

    template_image: str | None = None  # what the template writes for an image, if not image_text

    def conversation(self, grid: TokenGrid, user: str, answer: str) -> str:
        """The conversation as the chat template writes it, with the image's tokens.

        Raises UserError if the template is missing or cannot be filled.
        """
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
        except Exception as error:  # Jinja's errors, and whatever a template's expressions raise
            raise UserError(
                f"the chat template cannot be filled ({error}); download chat_template.jinja again"
            ) from error
        image = self.template_image or self.image_text
        if text.count(image) != 1:
            raise UserError(f"the chat template does not write {image} for an image")
        return text.replace(image, self.placeholder(grid))


def chat_template(folder: str | Path) -> str | None:
    """The chat template of a checkpoint's processor, None if there is none.

    Older checkpoints have it in chat_template.json or processor_config.json, newer ones in
    chat_template.jinja. A tokenizer reads only the last of these. Raises UserError for a file that
    cannot be read.
    """
    for name in ("chat_template.jinja", "chat_template.json", "processor_config.json"):
        path = Path(folder, name)
        if not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
            if name == "chat_template.jinja":
                return text
            record = dict(json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(
                f"{path}: not JSON or not UTF-8 ({error}); download it again"
            ) from error
        if record.get("chat_template"):
            return record["chat_template"]
    return None
