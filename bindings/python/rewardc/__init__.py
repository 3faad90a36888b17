"""Reward models from Python, by libreward. No dependencies.

    import rewardc
    m = rewardc.Model("my-reward-model")
    m.score([{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}])   # -> float
    m.score_rows([{"prompt": "2+2?", "responses": ["4", "5"]}])                             # -> rows with "scores"

Rows are those of `reward score`. A Model may be used from several threads, which take turns; models work at the same
time, and the interpreter's lock is let go while one works.
"""
import ctypes
import json
import os

__all__ = ["Error", "Model", "version"]

_TEXT = 1000  # bytes of rw_error's text
_STATUS = {1: "USAGE", 2: "DATA", 3: "IO", 4: "NOMEM", 5: "UNSUPPORTED", 6: "INTERRUPTED", 7: "NUMERIC"}
_OVERLONG = {"error": 0, "truncate": 1, "drop": 2}


class Error(Exception):
    """What the library says of a failure; `status` is "USAGE", "DATA", "IO", … as in reward.h."""

    def __init__(self, text, status="DATA"):
        super().__init__(text)
        self.status = status


class _CError(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("text", ctypes.c_char * _TEXT)]


class _CMessage(ctypes.Structure):
    _fields_ = [("role", ctypes.c_char_p), ("content", ctypes.c_char_p)]


class _COptions(ctypes.Structure):
    _fields_ = [
        ("context", ctypes.c_void_p),
        ("base", ctypes.c_char_p),
        ("chat_template", ctypes.c_char_p),
        ("date", ctypes.c_char_p),
        ("device", ctypes.c_char_p),
        ("dtype", ctypes.c_char_p),
        ("max_length", ctypes.c_int64),
        ("overlong", ctypes.c_int),
        ("batch_tokens", ctypes.c_int64),
        ("no_golden_check", ctypes.c_bool),
    ]


def _load():
    """libreward of the wheel, else $REWARD_LIBRARY, else the system's."""
    here = os.path.dirname(os.path.abspath(__file__))
    named = os.environ.get("REWARD_LIBRARY")
    places = [named] if named else []
    for folder in (os.path.join(here, "lib"), here):
        places += [os.path.join(folder, name) for name in ("libreward.so.0", "libreward.so")]
    path = next((p for p in places if os.path.exists(p)), "libreward.so.0")
    lib = ctypes.CDLL(path)
    p, err = ctypes.c_void_p, ctypes.POINTER(_CError)
    signatures = {
        "rw_version": (ctypes.c_char_p, []),
        "rw_free": (None, [p]),
        "rw_context_new": (ctypes.c_int, [ctypes.POINTER(p), ctypes.c_int, p, p, err]),
        "rw_context_free": (None, [p]),
        "rw_options_defaults": (None, [ctypes.POINTER(_COptions)]),
        "rw_model_open": (ctypes.c_int, [ctypes.POINTER(p), ctypes.c_char_p, ctypes.POINTER(_COptions), err]),
        "rw_model_close": (None, [p]),
        "rw_model_device": (ctypes.c_char_p, [p]),
        "rw_model_dtype": (ctypes.c_char_p, [p]),
        "rw_model_max_length": (ctypes.c_int64, [p]),
        "rw_score": (
            ctypes.c_int,
            [p, ctypes.POINTER(_CMessage), ctypes.c_size_t, ctypes.POINTER(ctypes.c_float), err],
        ),
        "rw_score_rows": (
            ctypes.c_int,
            [p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_size_t, ctypes.POINTER(p), err],
        ),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


_lib = _load()


def version():
    return _lib.rw_version().decode()


def _check(status, error):
    if status:
        raise Error(error.text.decode("utf-8", "replace"), _STATUS.get(status, str(status)))


def _bytes(name, value):
    """The text for C, which ends at a zero byte: one inside would cut it."""
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name}: expected a string, got {type(value).__name__}")
    encoded = os.fsencode(value) if isinstance(value, os.PathLike) else value.encode("utf-8", "surrogatepass")
    if b"\0" in encoded:
        raise ValueError(f"{name}: expected a text without zero bytes")
    return encoded


class Model:
    """A reward model: a Hugging Face checkpoint directory or a PEFT adapter's.

    threads: 0 takes all cores. The other options are rw_options' (reward.h). Closed by close(), at the end of a `with`
    block, or with the last reference.
    """

    def __init__(self, path, *, threads=0, base=None, chat_template=None, date=None, device="auto", dtype="auto",
                 max_length=0, overlong="error", batch_tokens=0, golden_check=True):
        self._model, self._context = ctypes.c_void_p(), ctypes.c_void_p()
        if overlong not in _OVERLONG:
            raise ValueError(f"overlong: expected error, truncate or drop, got {overlong!r}")
        err, options = _CError(), _COptions()
        _check(_lib.rw_context_new(ctypes.byref(self._context), threads, None, None, ctypes.byref(err)), err)
        _lib.rw_options_defaults(ctypes.byref(options))
        options.context = self._context
        for name, value in dict(base=base, chat_template=chat_template, date=date, device=device, dtype=dtype).items():
            setattr(options, name, _bytes(name, value))
        options.max_length, options.batch_tokens = max_length, batch_tokens
        options.overlong, options.no_golden_check = _OVERLONG[overlong], not golden_check
        _check(_lib.rw_model_open(ctypes.byref(self._model), _bytes("path", path), ctypes.byref(options),
                                  ctypes.byref(err)), err)

    def close(self):
        model, self._model = getattr(self, "_model", None), None
        context, self._context = getattr(self, "_context", None), None
        if _lib is not None:
            _lib.rw_model_close(model)
            _lib.rw_context_free(context)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        self.close()

    def _open(self):
        if not self._model:
            raise ValueError("the model is closed")
        return self._model

    @property
    def device(self):
        return _lib.rw_model_device(self._open()).decode()

    @property
    def dtype(self):
        return _lib.rw_model_dtype(self._open()).decode()

    @property
    def max_length(self):
        return _lib.rw_model_max_length(self._open())

    def score(self, messages):
        """The reward of a conversation, [{"role", "content"}…], that ends with an assistant message."""
        chat = (_CMessage * len(messages))()
        for c, m in zip(chat, messages):
            c.role, c.content = _bytes("role", m["role"]), _bytes("content", m["content"])
        out, err = ctypes.c_float(), _CError()
        _check(_lib.rw_score(self._open(), chat, len(messages), ctypes.byref(out), ctypes.byref(err)), err)
        return out.value

    def score_rows(self, rows):
        """The rows with their scores, as `reward score` writes them. A row that cannot be scored has "error"."""
        texts = [json.dumps(row).encode() for row in rows]
        given, out, err = (ctypes.c_char_p * len(texts))(*texts), (ctypes.c_void_p * len(texts))(), _CError()
        _check(_lib.rw_score_rows(self._open(), given, len(texts), out, ctypes.byref(err)), err)
        try:
            return [json.loads(ctypes.string_at(line)) for line in out]
        finally:
            for line in out:
                _lib.rw_free(line)
