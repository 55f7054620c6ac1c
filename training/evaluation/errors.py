"""What stops an evaluation: one class, whose message is a sentence for the person who started it."""


class EvaluationError(Exception):
    """A data set, a model's answer or a result file is not what it must be; the message names which."""
