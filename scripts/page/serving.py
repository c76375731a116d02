"""A server that is local, private and sends nothing home.

Gradio's settings of the environment are not read; its files are in a folder of its own that only
this user can read and that goes with the server.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import UserError

LOCAL = ("127.0.0.1", "localhost", "::1")
VISITORS = 8  # whose states are kept; a picture of 25 million pixels needs half a GB
WAITING = 32  # questions in the queue


@contextmanager
def private_gradio() -> Iterator[Path]:
    """Set Gradio up before it is imported; a folder for its files, in `gradio`, and for ours."""
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]
    folder = Path(tempfile.mkdtemp(prefix="langdepth_page_")).resolve()
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(folder / "gradio"),  # where it removes what is old
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), *LOCAL))),
    }
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_gradio() -> None:
    """A `UserError` where Gradio is not there."""
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"Gradio cannot be imported ({error}); sh scripts/app.sh installs it, or "
            ".venv/bin/pip install --no-deps -r requirements-app.txt"
        ) from error


def serve(page, host: str, port: int, max_bytes: int) -> str:  # noqa: ANN001
    """Start the server in threads of its own and return its address.

    page: of `build_page`.
    """
    from gradio import themes
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from scripts.page.layout import CSS

    # A foreign page that gives this machine a name of its own (DNS rebinding) is not answered.
    named = Middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL, "[::1]"])
    checks = [named] if host in LOCAL else []

    theme = themes.Default(
        font=["ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    page.queue(max_size=WAITING, default_concurrency_limit=1, api_open=False)
    try:
        _, address, _ = page.launch(
            server_name=host, server_port=port, share=False, quiet=True, prevent_thread_lock=True,
            max_file_size=max_bytes, allowed_paths=[], blocked_paths=[], ssr_mode=False,
            state_session_capacity=VISITORS, strict_cors=True, enable_monitoring=False,
            mcp_server=False, pwa=False, footer_links=[], run_history=False, theme=theme, css=CSS,
            show_error=True, inbrowser=False, num_workers=None, app_kwargs={"middleware": checks},
        )  # fmt: skip
    except OSError as error:
        raise UserError(f"no server at {host}:{port} ({error}); name another --port") from error
    return address
