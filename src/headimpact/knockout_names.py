"""Names of knockouts: which tokens of the text read nothing of which tokens of the image."""

# The rows of the attention that lose reads.
ROWS = {
    "description": "the tokens that predict or hold the description",
    "prompt": "the text of the prompt behind the image",
    "last": "the last token of the prompt",
    "text": "all text behind the image",
}
# The question's target is a single token, which the last token of the prompt predicts.
QUESTION_ROWS = ("prompt", "last")
# The columns of the attention that they lose.
SOURCES = {
    "object": "the tokens that the object covers by half",
    "object_any": "those that it covers at all",
    "object_ring": "those that it covers by half, and a ring of their neighbours",
    "object_two_rings": "the same with two rings",
    "background": "the tokens that it does not cover at all",
    "image": "all tokens of the image",
    "other_object": "those of another object of the image with a ring, but for those that the "
    "object covers at all",
    "random": "as many random tokens as object_ring has",
}
# What the model is asked, and how a knockout's effect on the answer is measured.
MEASURES = {
    "description": ("probability", "log_probability"),
    "question": ("probability", "margin"),
}
