"""The conversation of families that have a chat template."""

from headimpact.models.family import Family


class ChatFamily(Family):
    """A family whose tokenizer carries the checkpoint's own chat template."""

    image_text: str  # what the template writes for an image

    def conversation(self, grid, user, answer):
        turns = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": user}]},
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        ]
        text = self.tokenizer.apply_chat_template(turns, tokenize=False)
        if text.count(self.image_text) != 1:
            raise ValueError(f"the chat template does not write {self.image_text} for an image")
        return text.replace(self.image_text, self.placeholder(grid))
