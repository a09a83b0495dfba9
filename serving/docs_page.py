"""The description of the service as one page of HTML without scripts, to be read by people."""

import json
from html import escape
from typing import Any

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "pre{background:#f4f4f4;padding:.8rem;overflow:auto;font-size:13px}h2 code{font-size:1.1rem}"
)


def page(document: dict[str, Any]) -> str:
    """Write an OpenAPI document as a page, with a call of each route that takes rows."""
    info = document["info"]
    parts = [f"<h1>{escape(info['title'])}</h1>", f"<p>{escape(info['description'])}</p>"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts += [
                f"<h2><code>{method.upper()} {escape(path)}</code></h2>",
                f"<p>{escape(operation['summary'])}</p>",
            ]
            parts += [_call(path, name, one["value"]) for name, one in _examples(operation).items()]
    title = f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>"
    return f'<!doctype html><html lang="en"><meta charset="utf-8">{title}<body>{"".join(parts)}</body></html>'


def _examples(operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    found: dict[str, Any] = content.get("examples", {})
    return found


def _call(path: str, name: str, body: Any) -> str:
    text = json.dumps(body, indent=2, ensure_ascii=False).replace("'", "'\\''")
    call = f"curl http://localhost:8080{path} -H 'Content-Type: application/json'"
    lines = f"{call} \\\n  -H \"Authorization: Bearer $TOKEN\" -d '{text}'"
    return f"<p>{escape(name)}</p><pre>{escape(lines)}</pre>"
