from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Item(_message.Message):
    __slots__ = ("text", "image")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    text: str
    image: bytes
    def __init__(self, text: _Optional[str] = ..., image: _Optional[bytes] = ...) -> None: ...

class EmbedItemsRequest(_message.Message):
    __slots__ = ("model", "items", "space", "language")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    model: str
    items: _containers.RepeatedCompositeFieldContainer[Item]
    space: str
    language: str
    def __init__(self, model: _Optional[str] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., space: _Optional[str] = ..., language: _Optional[str] = ...) -> None: ...

class EmbedItemsResponse(_message.Message):
    __slots__ = ("model", "space", "dim", "logit_scale", "vectors", "errors", "truncated", "unknown", "tokens")
    class ItemError(_message.Message):
        __slots__ = ("index", "code", "message")
        INDEX_FIELD_NUMBER: _ClassVar[int]
        CODE_FIELD_NUMBER: _ClassVar[int]
        MESSAGE_FIELD_NUMBER: _ClassVar[int]
        index: int
        code: str
        message: str
        def __init__(self, index: _Optional[int] = ..., code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    LOGIT_SCALE_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    model: str
    space: str
    dim: int
    logit_scale: float
    vectors: bytes
    errors: _containers.RepeatedCompositeFieldContainer[EmbedItemsResponse.ItemError]
    truncated: _containers.RepeatedScalarFieldContainer[int]
    unknown: _containers.RepeatedScalarFieldContainer[int]
    tokens: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, model: _Optional[str] = ..., space: _Optional[str] = ..., dim: _Optional[int] = ..., logit_scale: _Optional[float] = ..., vectors: _Optional[bytes] = ..., errors: _Optional[_Iterable[_Union[EmbedItemsResponse.ItemError, _Mapping]]] = ..., truncated: _Optional[_Iterable[int]] = ..., unknown: _Optional[_Iterable[int]] = ..., tokens: _Optional[_Iterable[int]] = ...) -> None: ...

class SimilarityRequest(_message.Message):
    __slots__ = ("model", "queries", "candidates", "space", "language")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    model: str
    queries: _containers.RepeatedCompositeFieldContainer[Item]
    candidates: _containers.RepeatedCompositeFieldContainer[Item]
    space: str
    language: str
    def __init__(self, model: _Optional[str] = ..., queries: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., candidates: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., space: _Optional[str] = ..., language: _Optional[str] = ...) -> None: ...

class SimilarityResponse(_message.Message):
    __slots__ = ("model", "space", "logit_scale", "cosines", "probabilities", "matches", "queries", "candidates")
    class Side(_message.Message):
        __slots__ = ("errors", "truncated", "unknown")
        ERRORS_FIELD_NUMBER: _ClassVar[int]
        TRUNCATED_FIELD_NUMBER: _ClassVar[int]
        UNKNOWN_FIELD_NUMBER: _ClassVar[int]
        errors: _containers.RepeatedCompositeFieldContainer[EmbedItemsResponse.ItemError]
        truncated: _containers.RepeatedScalarFieldContainer[int]
        unknown: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, errors: _Optional[_Iterable[_Union[EmbedItemsResponse.ItemError, _Mapping]]] = ..., truncated: _Optional[_Iterable[int]] = ..., unknown: _Optional[_Iterable[int]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    LOGIT_SCALE_FIELD_NUMBER: _ClassVar[int]
    COSINES_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    model: str
    space: str
    logit_scale: float
    cosines: _containers.RepeatedScalarFieldContainer[float]
    probabilities: _containers.RepeatedScalarFieldContainer[float]
    matches: _containers.RepeatedScalarFieldContainer[float]
    queries: SimilarityResponse.Side
    candidates: SimilarityResponse.Side
    def __init__(self, model: _Optional[str] = ..., space: _Optional[str] = ..., logit_scale: _Optional[float] = ..., cosines: _Optional[_Iterable[float]] = ..., probabilities: _Optional[_Iterable[float]] = ..., matches: _Optional[_Iterable[float]] = ..., queries: _Optional[_Union[SimilarityResponse.Side, _Mapping]] = ..., candidates: _Optional[_Union[SimilarityResponse.Side, _Mapping]] = ...) -> None: ...

class ClassifyRequest(_message.Message):
    __slots__ = ("model", "items", "labels", "templates", "language", "threshold", "space")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    model: str
    items: _containers.RepeatedCompositeFieldContainer[Item]
    labels: _containers.RepeatedScalarFieldContainer[str]
    templates: _containers.RepeatedScalarFieldContainer[str]
    language: str
    threshold: float
    space: str
    def __init__(self, model: _Optional[str] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., labels: _Optional[_Iterable[str]] = ..., templates: _Optional[_Iterable[str]] = ..., language: _Optional[str] = ..., threshold: _Optional[float] = ..., space: _Optional[str] = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("model", "space", "logit_scale", "classifications", "errors", "truncated", "unknown", "truncated_labels", "unknown_labels")
    class Classification(_message.Message):
        __slots__ = ("label", "best", "probability", "match", "cosines", "probabilities")
        LABEL_FIELD_NUMBER: _ClassVar[int]
        BEST_FIELD_NUMBER: _ClassVar[int]
        PROBABILITY_FIELD_NUMBER: _ClassVar[int]
        MATCH_FIELD_NUMBER: _ClassVar[int]
        COSINES_FIELD_NUMBER: _ClassVar[int]
        PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
        label: str
        best: str
        probability: float
        match: float
        cosines: _containers.RepeatedScalarFieldContainer[float]
        probabilities: _containers.RepeatedScalarFieldContainer[float]
        def __init__(self, label: _Optional[str] = ..., best: _Optional[str] = ..., probability: _Optional[float] = ..., match: _Optional[float] = ..., cosines: _Optional[_Iterable[float]] = ..., probabilities: _Optional[_Iterable[float]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    LOGIT_SCALE_FIELD_NUMBER: _ClassVar[int]
    CLASSIFICATIONS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_LABELS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_LABELS_FIELD_NUMBER: _ClassVar[int]
    model: str
    space: str
    logit_scale: float
    classifications: _containers.RepeatedCompositeFieldContainer[ClassifyResponse.Classification]
    errors: _containers.RepeatedCompositeFieldContainer[EmbedItemsResponse.ItemError]
    truncated: _containers.RepeatedScalarFieldContainer[int]
    unknown: _containers.RepeatedScalarFieldContainer[int]
    truncated_labels: _containers.RepeatedScalarFieldContainer[int]
    unknown_labels: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, model: _Optional[str] = ..., space: _Optional[str] = ..., logit_scale: _Optional[float] = ..., classifications: _Optional[_Iterable[_Union[ClassifyResponse.Classification, _Mapping]]] = ..., errors: _Optional[_Iterable[_Union[EmbedItemsResponse.ItemError, _Mapping]]] = ..., truncated: _Optional[_Iterable[int]] = ..., unknown: _Optional[_Iterable[int]] = ..., truncated_labels: _Optional[_Iterable[int]] = ..., unknown_labels: _Optional[_Iterable[int]] = ...) -> None: ...

class RerankRequest(_message.Message):
    __slots__ = ("model", "query", "documents", "top_n", "space", "language")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    TOP_N_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    model: str
    query: Item
    documents: _containers.RepeatedCompositeFieldContainer[Item]
    top_n: int
    space: str
    language: str
    def __init__(self, model: _Optional[str] = ..., query: _Optional[_Union[Item, _Mapping]] = ..., documents: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., top_n: _Optional[int] = ..., space: _Optional[str] = ..., language: _Optional[str] = ...) -> None: ...

class RerankResponse(_message.Message):
    __slots__ = ("model", "space", "logit_scale", "results", "errors", "truncated", "unknown", "query_truncated", "query_unknown")
    class Result(_message.Message):
        __slots__ = ("index", "relevance_score", "match")
        INDEX_FIELD_NUMBER: _ClassVar[int]
        RELEVANCE_SCORE_FIELD_NUMBER: _ClassVar[int]
        MATCH_FIELD_NUMBER: _ClassVar[int]
        index: int
        relevance_score: float
        match: float
        def __init__(self, index: _Optional[int] = ..., relevance_score: _Optional[float] = ..., match: _Optional[float] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    LOGIT_SCALE_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    QUERY_TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    QUERY_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    model: str
    space: str
    logit_scale: float
    results: _containers.RepeatedCompositeFieldContainer[RerankResponse.Result]
    errors: _containers.RepeatedCompositeFieldContainer[EmbedItemsResponse.ItemError]
    truncated: _containers.RepeatedScalarFieldContainer[int]
    unknown: _containers.RepeatedScalarFieldContainer[int]
    query_truncated: bool
    query_unknown: bool
    def __init__(self, model: _Optional[str] = ..., space: _Optional[str] = ..., logit_scale: _Optional[float] = ..., results: _Optional[_Iterable[_Union[RerankResponse.Result, _Mapping]]] = ..., errors: _Optional[_Iterable[_Union[EmbedItemsResponse.ItemError, _Mapping]]] = ..., truncated: _Optional[_Iterable[int]] = ..., unknown: _Optional[_Iterable[int]] = ..., query_truncated: bool = ..., query_unknown: bool = ...) -> None: ...

class ModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "version", "space", "dim", "logit_scale", "problem", "languages")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    LOGIT_SCALE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    LANGUAGES_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    space: str
    dim: int
    logit_scale: float
    problem: str
    languages: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., space: _Optional[str] = ..., dim: _Optional[int] = ..., logit_scale: _Optional[float] = ..., problem: _Optional[str] = ..., languages: _Optional[_Iterable[str]] = ...) -> None: ...
