from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EmbedRequest(_message.Message):
    __slots__ = ("texts", "images", "space", "canary", "timeout_ms", "stages", "language")
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[bytes]
    images: _containers.RepeatedScalarFieldContainer[bytes]
    space: str
    canary: bool
    timeout_ms: int
    stages: bool
    language: str
    def __init__(self, texts: _Optional[_Iterable[bytes]] = ..., images: _Optional[_Iterable[bytes]] = ..., space: _Optional[str] = ..., canary: bool = ..., timeout_ms: _Optional[int] = ..., stages: bool = ..., language: _Optional[str] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("space", "dim", "logit_scale", "vectors", "errors", "truncated", "error", "version", "unknown", "tokens", "stages", "languages")
    SPACE_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    LOGIT_SCALE_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    LANGUAGES_FIELD_NUMBER: _ClassVar[int]
    space: str
    dim: int
    logit_scale: float
    vectors: bytes
    errors: _containers.RepeatedCompositeFieldContainer[ItemError]
    truncated: _containers.RepeatedScalarFieldContainer[int]
    error: RequestError
    version: str
    unknown: _containers.RepeatedScalarFieldContainer[int]
    tokens: _containers.RepeatedScalarFieldContainer[int]
    stages: _containers.RepeatedCompositeFieldContainer[Stage]
    languages: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, space: _Optional[str] = ..., dim: _Optional[int] = ..., logit_scale: _Optional[float] = ..., vectors: _Optional[bytes] = ..., errors: _Optional[_Iterable[_Union[ItemError, _Mapping]]] = ..., truncated: _Optional[_Iterable[int]] = ..., error: _Optional[_Union[RequestError, _Mapping]] = ..., version: _Optional[str] = ..., unknown: _Optional[_Iterable[int]] = ..., tokens: _Optional[_Iterable[int]] = ..., stages: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ..., languages: _Optional[_Iterable[str]] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("name", "seconds")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    seconds: float
    def __init__(self, name: _Optional[str] = ..., seconds: _Optional[float] = ...) -> None: ...

class ItemError(_message.Message):
    __slots__ = ("index", "code", "message")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    index: int
    code: str
    message: str
    def __init__(self, index: _Optional[int] = ..., code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class RequestError(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
