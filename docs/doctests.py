"""Show the sessions in docstrings, which run as tests, as code in the API reference."""

import re
from typing import Any

import griffe

_SESSION = re.compile(r"(?m)^>>> .*(?:\n(?=\S).*)*")


class FencedSessions(griffe.Extension):
    """Puts fences around the lines from `>>>` to the next empty line."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = _SESSION.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
