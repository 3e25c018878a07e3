"""The kinds of table that rules hand to each other, and the columns of each."""

SPLITS = ("impact", "train", "validation", "test")
LABELS = ("A", "B", "C", "D")  # of the four options of a question
LABEL_COLUMNS = [f"log_{label}" for label in LABELS]  # of their log-probabilities

_IMAGE = {
    "image_id": "int64",
    "file_name": "string",  # The path below the images' folder.
    "width": "int64",  # Width and height are in pixels.
    "height": "int64",
    "sha256": "string?",  # The hash of the image file; null if there was no such file.
    "caption_id": "int64",
    "caption": "string",
}
_OBJECT = {
    "description": "string",
    # The edges of the bounding box, in pixels; x1 and y1 are exclusive.
    **dict.fromkeys(("x0", "y0", "x1", "y1"), "float64"),
    "mask": "string",  # The counts of a compressed COCO run-length encoding.
    "confidence": "float64?",  # From 0 to 1; null if the annotator gave none.
}

# {kind of table: {column: type}}. A column whose type ends in "?" may hold nulls, no other may.
TABLES = {
    # A row is an image that was drawn for the study, with one of its captions and the annotator
    # that it goes to. The rows are in the order of the draw.
    "images": {**_IMAGE, "annotator": "string"},
    # A row is an instance of COCO's annotation file, on an image that was drawn. segmentation is
    # JSON, unchecked; iscrowd is 0 or 1.
    "instances": {
        "image_id": "int64",
        "category": "string",
        "description": "string?",  # The instance's own, if it has one.
        "segmentation": "string",
        "iscrowd": "int8",
    },
    # A row is an object that an annotator found, before any filter.
    "annotations": {"image_id": "int64", **_OBJECT},
    # A row is an image, or an object of it, that was left out, and why.
    "dropped": {"image_id": "int64", "file_name": "string", "reason": "string"},
    # A row is an image that entered the study, with its caption and its split (one of SPLITS).
    "samples": {"sample_id": "int64", **_IMAGE, "split": "string"},
    # A row is a key object of a sample.
    "objects": {"sample_id": "int64", "object_id": "int64", **_OBJECT},
    # A row is an object on the token grid of a model. The image is cut into `tiles` of
    # rows x columns tokens; coverage is the share of each image token's area that the object
    # covers, from 0 to 1, in the order of the image tokens.
    "tokens": {
        "object_id": "int64",
        "tiles": "int32",
        "rows": "int32",
        "columns": "int32",
        "coverage": "list<float32>",
    },
    # A row is an object whose mask was moved to a random place: its coverage, as in "tokens".
    "shifted_tokens": {"object_id": "int64", "shift": "int32", "coverage": "list<float32>"},
    # A row is an object, a layer and a head. attended has one bit an image token, in the order of
    # numpy.packbits: whether the head's attention to it is above the mean over all image tokens.
    # The other columns need no threshold. image_mass is the sum of the attention over the image
    # tokens, below 1 because a description sees text, too; object_mass weights each token by the
    # share of its area that the object covers; top_token is the index of the token with most
    # attention, the first one of equal ones; spatial_entropy is that of `scores.components`, nats.
    "attention": {
        "object_id": "int64",
        "layer": "int16",
        "head": "int16",
        "attended": "binary",
        "image_mass": "float32",
        "object_mass": "float32",
        "top_token": "int32",
        "spatial_entropy": "float32",
    },
    # A row is the score of a head, or of a layer as a whole, where head is null. value is in the
    # unit of the score; standard_error is null if the score has none; null is what the score would
    # be by chance, if that is known; first_half and second_half are the score of either random half
    # of the images, null if it has none; resampled is the score of images drawn with replacement, a
    # value a draw, null if that is not known; n is how many objects or images were averaged; cost
    # is how many forward passes of the model the score needed in all (an image with all its
    # descriptions is one pass, and a backward pass counts as two), null if that is not known.
    "scores": {
        "score": "string",
        "layer": "int16",
        "head": "int16?",
        "value": "float64",
        "standard_error": "float64?",
        "null": "float64?",
        "first_half": "float64?",
        "second_half": "float64?",
        "resampled": "list<float32>?",
        "n": "int64",
        "cost": "float64?",
    },
    # A row is an item, an object of whose image chosen heads read nothing. design is "curve" for
    # objects of the split test, one of score_registry.DESIGNS for those of the split impact, and
    # "none" for the row without an intervention that each item and variant has. ablated has one bit
    # a head, in the order of numpy.packbits over layers x heads. log_probability is the sum over
    # the tokens of the description, in nats, `tokens` their number, and kl the divergence of the
    # predictions of these tokens from those without an intervention, in nats, as a mean over the
    # tokens. log_A to log_D: as in "answers"; answer is the right label. What was not asked for is
    # null. passes is the row's cost, in passes of the item's plain sequences.
    "interventions": {
        "object_id": "int64",
        "design": "string",
        "variant": "string",
        "layers": "int16",
        "heads": "int16",
        "ablated": "binary",
        "log_probability": "float64?",
        "tokens": "int64?",
        "kl": "float64?",
        **{f"log_{label}": "float64?" for label in LABELS},
        "answer": "string?",
        "passes": "float64",
    },
    # A row is an item, an object of the split impact, once the layers of a window around `layer`
    # read part of the image no longer: `rows` of the text lose `source`, see knockout_names, which
    # are image_tokens tokens. The three are null, and image_tokens 0, in the row of no knockout.
    # outcome is "description", with log_probability and tokens, or "question", with log_A to log_D,
    # both as in "answers"; answer is the right label. What is of the other outcome is null. passes
    # is the row's cost, in passes of the plain sequence.
    "knockouts": {
        "object_id": "int64",
        "outcome": "string",
        "rows": "string?",
        "source": "string?",
        "layer": "int16?",
        "image_tokens": "int32",
        "log_probability": "float64?",
        "tokens": "int64?",
        **{f"log_{label}": "float64?" for label in LABELS},
        "answer": "string?",
        "passes": "float64",
    },
    # A row is an object of the split test, or of impact, with the four descriptions to choose from.
    # answer is the label of the right one: A, B, C or D.
    "questions": {
        "object_id": "int64",
        **{f"option_{label}": "string" for label in LABELS},
        "answer": "string",
    },
    # A row is what a model says of a test object. log_probability is the sum over the tokens of
    # its description, in nats, and `tokens` their number. log_A to log_D are the natural
    # logarithms of the probability of each label, over the whole vocabulary.
    "answers": {
        "sample_id": "int64",
        "object_id": "int64",
        "log_probability": "float64",
        "tokens": "int64",
        **{f"log_{label}": "float64" for label in LABELS},
    },
}
