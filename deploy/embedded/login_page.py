"""The embedded issuer's one page: who are you, and shall this program act for you."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

# No script, no frame, nothing from elsewhere.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Agent Runtime: sign in</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 26rem; margin: 12vh auto; padding: 0 1rem; }}
label, select, input, button {{ display: block; width: 100%; box-sizing: border-box; font: inherit; }}
select, input, button {{ padding: .5rem; margin: .25rem 0 1rem; }}
.said {{ color: #a40000; }} code {{ font-size: 90%; overflow-wrap: anywhere; }}
</style></head><body><h1>Agent Runtime</h1>{content}</body></html>"""


def notice(text: str) -> str:
    """A page that only says something."""
    return _PAGE.format(content=f"<p>{escape(text)}</p>")


def code_form(action: str, said: str = "") -> str:
    """Asks for the code that a program shows."""
    return _PAGE.format(
        content=f'<form method="get" action="{escape(action)}">{_warning(said)}'
        '<label>The code that the program shows <input name="user_code" autocomplete="off" autofocus></label>'
        "<button>Go on</button></form>"
    )


def login_form(
    action: str, client: str, usernames: Sequence[str], kept: Mapping[str, str], password_file: str, said: str = ""
) -> str:
    """Asks who it is and whether the client may act for them; `kept` comes back with the answer."""
    hidden = "".join(f'<input type="hidden" name="{escape(name)}" value="{escape(v)}">' for name, v in kept.items())
    options = "".join(f"<option>{escape(name)}</option>" for name in usernames)
    return _PAGE.format(
        content=f'<form method="post" action="{escape(action)}">{_warning(said)}{hidden}'
        f"<p><strong>{escape(client)}</strong> wants to act for you.</p>"
        f'<label>User <select name="username">{options}</select></label>'
        '<label>Password <input type="password" name="password" autocomplete="off" autofocus></label>'
        f"<p>The password of the shipped users stands in <code>{escape(password_file)}</code>.</p>"
        '<button name="accept" value="yes">Sign in and allow</button>'
        '<button name="deny" value="yes">Do not allow</button></form>'
    )


def _warning(said: str) -> str:
    return f'<p class="said">{escape(said)}</p>' if said else ""
